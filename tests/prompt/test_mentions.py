"""Which mentions are of one thing, and to which thing the parts and relations of a later mention belong."""

from __future__ import annotations

import pytest

from dymo.prompt import SemanticGraph, parse


def said(graph: SemanticGraph) -> str:
    """The things with their attributes; after "<" the place of what they are a part of, after "=" of what they are."""

    def one(entity) -> str:
        attributes = f"[{' '.join(a.text for a in entity.attributes)}]" if entity.attributes else ""
        kin = "".join(f"{mark}{at}" for mark, at in (("<", entity.part_of), ("=", entity.same_as)) if at is not None)
        return entity.text.lower() + attributes + kin

    return " ".join(map(one, graph.entities))


def related(graph: SemanticGraph) -> str:
    """The relations, each as its subject, its words and its object."""
    found = [(graph.entities[r.subject].text, r.text, graph.entities[r.object].text) for r in graph.relations]
    return ", ".join(map(" ".join, found))


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("The red ball is on the blue box. The green ball is on the yellow box.", "ball[red] box[blue] ball[green] box[yellow]"),
        ("the left car is red and the right car is blue", "car[red] car[blue]"),
        ("the first dog is brown, the second dog is white", "dog[brown] dog[white]"),
        ("the cat on the left is black and the cat on the right is white", "cat[black] cat[white]"),
        ("The man on the left is wearing a red hat and the man on the right is wearing a blue hat", "man hat[red]<0 man hat[blue]<2"),
        ("the wooden chair and the plastic chair", "chair[wooden] chair[plastic]"),
        ("a cat. the other cat is black", "cat cat[black]"),
        ("a dog's collar and a cat's collar", "collar[dog] collar[cat]"),
        ("a man with his hat and a woman with her hat", "man hat<0 woman hat<2"),
        ("a man on a bench. The man on the other side of the street is old.", "man bench man[old] street"),
        ("red car, blue car, green car", "car[red] car[blue] car[green]"),
        ("girl, red apple, green apple", "girl apple[red] apple[green]"),
    ],
)  # fmt: skip
def test_things_that_differ_by_colour_order_size_or_side_are_several(prompt, right):
    assert said(parse(prompt)) == right


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a silver key and a brass key, the silver key is above the brass key", "key[silver] key[brass] key[silver]=0 key[brass]=1"),
        ("a red cube on a blue cube, a sphere beside the blue cube", "cube[red] cube[blue] sphere cube[blue]=1"),
        ("a soccer ball and a tennis ball, the tennis ball is wet", "ball[soccer] ball[tennis] ball[tennis wet]=1"),
        ("an old man and a young man. The young man is bald.", "man[old] man[young] man[young bald]=1"),
        ("a dog and another dog. The second dog is white.", "dog dog dog[white]=1"),
        ("a dragon on a hill, the green dragon sleeps", "dragon hill dragon[green]=0"),
        ("a red and blue ball beside a box. The red ball is wet.", "ball[red blue] box ball[red wet]=0"),
        ("a dog on a hill. The dog is black", "dog[black] hill"),
        ("a cat and a sofa. The cat on the left is black.", "cat[black] sofa"),
        ("two dogs, the big dog is brown and the small dog is white", "dogs[two] dog[big brown]<0 dog[small white]<0"),
        ("1girl, red hair, long hair", "girl hair[red]<0 hair[long]=1"),
        ("a man with a beard and a man with a cap. The man with the cap is tall.", "man beard<0 man[tall] cap<2"),
        ("a man with a cap and a man with a beard. The man with the cap is tall.", "man[tall] cap<0 man beard<2"),
        ("a man holding a cup and a man holding a book. The man with the book is bald.", "man cup man[bald] book"),
        ("a dog on a sofa and a dog on a rug. The dog on the rug is black.", "dog sofa dog[black] rug"),
        ("a red car with a dent and a red car with a flag. The red car with the flag is wet.", "car[red] dent car[red] flag car[red wet]=2"),
        ("the man with the beard is old and the man with the cap is young", "man[old] beard<0 man[young] cap<2"),
        ("a man with a hat. The man with the cane is old.", "man[old] hat<0 cane"),
    ],
)  # fmt: skip
def test_a_later_mention_is_of_the_thing_that_it_says_most_of(prompt, right):
    assert said(parse(prompt)) == right


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a man and a woman. The man wears a red hat. The woman wears a blue hat.", "man woman hat[red]<0 hat[blue]<1"),
        ("a dog sits next to a cat. The dog has a red collar. The cat has a blue collar.", "dog cat collar[red]<0 collar[blue]<1"),
        ("a king and a queen, the king has a gold crown and the queen has a red robe", "king queen crown[gold]<0 robe[red]<1"),
        ("a red hat and a dog, the dog wears the hat", "hat[red]<1 dog"),
        ("a bird standing on a branch. The bird has blue wings.", "bird branch wings[blue]<0"),
        ("a house with a door. The door has a window.", "house door<0 window<1"),
    ],
)  # fmt: skip
def test_parts_belong_to_the_thing_that_is_named_again(prompt, right):
    assert said(parse(prompt)) == right


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a robot and a wizard. The robot holds a sword and the wizard holds a staff.", "robot holds sword, wizard holds staff"),
        ("a dog and a cat. the dog is to the left of the cat.", "dog to the left of cat"),
        ("the dog chases the cat, and the cat chases the mouse", "dog chases cat, cat chases mouse"),
        ("the dog chases the cat, and the cat chases the dog", "dog chases cat, cat chases dog"),
        ("a fork to the left of a plate and a knife to the right of the plate", "fork to the left of plate, knife to the right of plate"),
        ("a cup, a plate above the cup and a spoon below the cup", "plate above cup, spoon below cup"),
        ("a bear and a fox. A bird sits on the bear.", "bird sits on bear"),
        ("a mountain reflected in a lake, the lake is frozen", "mountain reflected in lake"),
        ("a cat. The cat is next to the cat.", ""),
        ("a robot with glowing eyes holding a flower", "robot with eyes, robot holding flower"),
        ("a cat, a dog and a parrot; the parrot is on the dog, the dog is on a rug", "parrot on dog, dog on rug"),
        ("a man with a hat and a boy. The man with the hat sits.", "man with hat"), ("a woman, holding balloon", "woman holding balloon"),
        ("a room with walls, one of the walls is blue", "room with walls"),
        ("a dog in a car and a cat in a tree", "dog in car, cat in tree"),
        ("the cat in the hat sits on a mat", "cat in hat, cat sits on mat"),
    ],
)  # fmt: skip
def test_relations_are_of_the_thing_that_is_named_again(prompt, right):
    assert related(parse(prompt)) == right


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a teddy bear with a blue bow tie sitting on a bench next to a dog", "bear with tie, bear sitting on bench, bear next to dog"),
        ("portrait of a girl with silver hair and emerald eyes, wearing a jacket", "girl with hair, girl wearing jacket"),
        ("a woman with short hair, wearing white dress, holding a sword", "woman with hair, woman wearing dress, woman holding sword"),
        ("the cat has orange fur, while the dog has black fur", "cat has fur, dog has fur"),
        ("an alien sitting in a bathtub full of bubbles", "alien sitting in bathtub, bathtub full of bubbles"),
        ("a castle with flags on its towers", "castle with flags, flags on towers"),
        ("an elephant with a balloon. Next to it stands a giraffe with a tie.", "elephant with balloon, giraffe with tie"),
        ("a castle on a hill, surrounded by trees", "castle on hill, castle surrounded by trees"),
        ("a wizard, a knight, holding a sword", "knight holding sword"), ("the houses have glowing windows", "houses have windows"),
        ("a beautiful woman, blue eyes, white dress, standing by a window", "woman standing by window"),
        ("a kangaroo wearing an orange hoodie and blue sunglasses standing on the grass", "kangaroo wearing hoodie, kangaroo standing on grass"),
        ("a city bus with a white roof parked next to a building", "bus with roof, bus parked next to building"),
        ("a princess in a gown with a tiara on her head", "princess in gown, gown with tiara, tiara on head"),
        ("an elderly man and a young woman. He is reading a newspaper; she is drinking tea.", "man reading newspaper, woman drinking tea"),
        ("a raccoon wearing a hat and holding a cane. The raccoon is holding a bag.",
         "raccoon wearing hat, raccoon holding cane, raccoon holding bag"),
    ],
)  # fmt: skip
def test_what_is_done_is_of_whom_the_phrase_is_about(prompt, right):
    assert related(parse(prompt)) == right


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("under the table is a mouse", "mouse under table"), ("in the box lies a ring", "ring in box"),
        ("on the left stands a red lamp", ""), ("a cat, in the background is a car", ""), ("on the table there is a red book", "book on table"),
        ("in front of the castle stands a knight in armor", "knight in front of castle, knight in armor"),
        ("on top of the fridge sits a cat and under the table lies a dog", "cat on top of fridge, dog under table"),
        ("under the table in the kitchen is a mouse", "mouse under table, table in kitchen"),
        ("in the box lies a pile of coins", "coins in box"), ("from behind a tree peeks a deer", "deer from behind tree"),
        ("in a forest, a bear", "bear in forest"), ("under the table a mouse is eating cheese", "mouse under table, mouse eating cheese"),
        ("wearing a red hat, a cat sits on a sofa", "cat wearing hat, cat sits on sofa"), ("on a beach, sunset, palm trees, a girl", ""),
        ("a man in a hat and in a coat holds a cup", "man in hat, man in coat, man holds cup"), ("a cat, on a table, is black", "cat on table"),
        ("on the table is the table", ""),
    ],
)  # fmt: skip
def test_what_is_named_behind_its_place_is_there(prompt, right):
    assert related(parse(prompt)) == right


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a cat and a dog both wearing hats", "cat wearing hats, dog wearing hats"),
        ("a cat and a dog, each wearing a hat", "cat wearing hat, dog wearing hat"),
        ("a cat, a dog and a bird all wearing scarves", "cat wearing scarves, dog wearing scarves, bird wearing scarves"),
        ("a man on a horse and a woman both wearing hats", "man on horse, man wearing hats, woman wearing hats"),
        ("a cat and a dog are on a sofa", "cat on sofa, dog on sofa"), ("two men each holding a sign", "men holding sign"),
        ("a cat and a dog. They are wearing hats.", "cat wearing hats, dog wearing hats"),
        ("a man and a woman, both with red hair", "man with hair, woman with hair"),
        ("a bird and a fish, a cat and a dog both wearing scarves", "cat wearing scarves, dog wearing scarves"),
        ("a man and a woman in matching red jackets", "man in jackets, woman in jackets"),
        ("a cat and a dog wearing hats", "cat wearing hats, dog wearing hats"),
        ("a boy in a coat and a girl in boots", "boy in coat, girl in boots"),
        ("a woman in a hat and a dog in boots", "woman in hat, dog in boots"), ("a cat and a woman wearing a hat", "woman wearing hat"),
        ("a boy and two cats that are on a sofa", "cats on sofa"), ("a man and a woman holding a cup", "woman holding cup"),
        ("a cat and a dog wear hats", "cat wear hats, dog wear hats"), ("a bear and a fox share a blanket", "bear share blanket, fox share blanket"),
        ("a boy in a red hat and a girl in a blue dress hold balloons", "boy in hat, girl in dress, boy hold balloons, girl hold balloons"),
        ("a man is holding a cup and a woman is holding a book", "man holding cup, woman holding book"),
    ],
)  # fmt: skip
def test_what_is_said_of_several_is_of_each(prompt, right):
    assert related(parse(prompt)) == right
