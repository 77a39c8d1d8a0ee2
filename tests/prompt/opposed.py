"""Sixty prompts as people write them, and by eye which of the things in each are to be drawn apart.

A pair is right if the two are different things that have places of their own in the image. Wholes and their parts, what
is worn and its wearer, what holds and what is in it are no pairs, nor is one thing under two names.
"""

from __future__ import annotations

PROMPTS: list[tuple[str, str]] = [
    ("a photo of a dog right of a teddy bear", "dog bear"),
    ("a pencil and a traffic light", "pencil light"),
    ("a photo of an oven and a bed", "oven bed"),
    ("a red picture frame above a brown bed", "frame bed"),
    ("a green basketball left of a white remote control", "basketball control"),
    ("a table that is made of glass next to a bag of leather", "table bag"),
    ("a bronze statue of a horse in front of a church", "statue church"),
    ("a ring made out of gold on a velvet cushion", "ring cushion"),
    ("a bowl of fruit and a bottle of red wine", "bowl bottle, bowl wine, fruit bottle, fruit wine"),
    ("1girl, solo, long hair, smile, upper body, looking at viewer, cherry blossoms", "girl blossoms, hair blossoms"),
    ("score_9, score_8_up, 1boy, red hair, holding a sword, outdoors, masterpiece", "boy sword, hair sword"),
    ("a cat in a {red|green} hat", ""),
    ("[dog:cat:0.5] on a blue sofa", "dog sofa, cat sofa"),
    ("a sign that says hello world above a door", "sign door"),
    ("a neon sign that reads open late, a wet street at night", "sign street"),
    ("neither a cat nor a dog, an empty room", ""),
    ("a woman in a red jacket walking a dog", "woman dog, jacket dog"),
    ("a man with a long beard holding a sword", "man sword, beard sword"),
    (
        "a knight in silver armor riding a black horse, castle in the background",
        "knight horse, armor horse, knight castle, armor castle, horse castle",
    ),
    ("beautiful girl, cheerleader, stadium", "girl stadium, cheerleader stadium"),
    ("portrait of a woman, by greg rutkowski, artstation, sharp focus", ""),
    ("a lighthouse on a cliff, oil painting, dramatic lighting", "lighthouse cliff"),
    ("an astronaut riding a horse on the moon, photorealistic, 8k", "astronaut horse, astronaut moon, horse moon"),
    ("a girl with green eyes and a boy with red hair", "girl boy, girl hair, eyes boy, eyes hair"),
    ("a cat wearing a hat and a dog wearing sunglasses", "cat dog, cat sunglasses, hat dog, hat sunglasses"),
    ("a car with big wheels next to a house with a red door", "car house, car door, wheels house, wheels door"),
    ("three dogs and a cat sitting on a bench", "dogs cat, dogs bench, cat bench"),
    ("a dragon breathing fire over a village, the dragon is green", "dragon fire, dragon village, fire village"),
    ("the head of a lion, intricate details, unreal engine", ""),
    ("an old man's hands, black and white photography, 35mm", ""),
    ("a cup of coffee on a wooden table, morning light, cozy atmosphere", "cup table, coffee table"),
    ("a robot painting a canvas in a studio, concept art", "robot canvas, robot studio, canvas studio"),
    (
        "cyberpunk city street at night, neon lights, rain, highly detailed, trending on artstation",
        "street lights, street rain, lights rain",
    ),
    (
        "a fox and a rabbit having a tea party in a forest, storybook illustration",
        "fox rabbit, fox party, rabbit party, fox forest, rabbit forest, party forest",
    ),
    ("logo of a bear, minimalist, vector art, white background", ""),
    ("a photo of a blue vase and a yellow banana, studio lighting, bokeh", "vase banana"),
    ("a child's drawing of a house under a rainbow", "house rainbow"),
    ("an elephant standing behind a wooden fence, golden hour, national geographic", "elephant fence"),
    ("a princess in a long white dress holding a rose in her hand", "princess rose, dress rose, hand rose, dress hand"),
    ("a black cat on a red sofa to the left of a lamp", "cat sofa, cat lamp, sofa lamp"),
    (
        "a wooden bridge over a river, mountains, clouds, soft pastel colors",
        "bridge river, bridge mountains, bridge clouds, river mountains, river clouds, mountains clouds",
    ),
    ("a magazine and a poster on a brick wall", "magazine poster, magazine wall, poster wall"),
    (
        "a chef cutting vegetables in a modern kitchen, 4k, sharp focus",
        "chef vegetables, chef kitchen, vegetables kitchen",
    ),
    ("two parrots, one red and one blue, on a branch", "parrots branch"),
    ("a wizard casting a spell, purple smoke, dark fantasy art style", "wizard smoke"),
    ("a slice of pizza and a glass of orange juice", "pizza glass, pizza juice"),
    ("an old ship in a storm, masterpiece, best quality, by ivan aivazovsky", "ship storm"),
    ("a kitten sleeping in a basket, its tail hanging out", "kitten basket, tail basket"),
    ("full body shot of a samurai, cherry trees, cinematic, depth of field", "samurai trees"),
    ("anime girl with blue hair and yellow eyes, city skyline", "girl skyline, hair skyline, eyes skyline, hair eyes"),
    ("a snowman wearing a scarf and a top hat in a garden", "snowman garden, scarf garden, hat garden, scarf hat"),
    ("a surfer on a huge wave at sunset, award winning photograph", "surfer wave"),
    ("a white horse and a brown cow in a green field", "horse cow, horse field, cow field"),
    (
        "a spaceship landing on a red planet, two moons in the sky",
        "spaceship planet, spaceship moons, spaceship sky, planet moons, planet sky, moons sky",
    ),
    (
        "an orange on a plate, an orange cat under the table",
        "orange plate, orange cat, orange table, plate cat, plate table, cat table",
    ),
    ("a bookshelf full of books beside a leather armchair", "bookshelf armchair, books armchair"),
    (
        "a mermaid, underwater, coral reef, long flowing hair, bubbles",
        "mermaid reef, mermaid bubbles, reef hair, hair bubbles, reef bubbles",
    ),
    ("a tiny house in a glass jar, macro photography, tilt shift", "house jar"),
    ("a boy flying a kite on the beach, watercolor", "boy kite, boy beach, kite beach"),
    ("a queen with a golden crown sitting on a throne, baroque style", "queen throne, crown throne"),
]  # fmt: skip


def right_pairs(said: str) -> set[frozenset[str]]:
    """The pairs of heads that a list above names."""
    return {frozenset(pair.split()) for pair in said.split(",") if pair.strip()}
