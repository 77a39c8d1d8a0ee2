"""Forty prompts as users of picture boards write them, and by eye what each is to be read as.

"girl[standing] hair[long]<girl maid=girl": the things in the order of the prompt, with their attributes, what they are
a part of or worn by, and which earlier or later thing they are.
"""

from __future__ import annotations

PROMPTS: list[tuple[str, str]] = [
    (
        "1girl, solo, long hair, red dress, standing, outdoors",
        "girl[standing] hair[long]<girl dress[red]<girl",
    ),
    (
        "2boys, short hair, blue eyes, school uniform, smile, sitting, classroom",
        "boys[sitting] hair[short]<boys eyes[blue]<boys uniform[school]<boys classroom",
    ),
    (
        "masterpiece, best quality, 8k, 1girl, solo, silver hair, purple eyes, black dress, looking at viewer, night sky",
        "girl hair[silver]<girl eyes[purple]<girl dress[black]<girl sky[night]",
    ),
    (
        "1boy, male focus, black hair, glasses, white shirt, holding book, library",
        "boy hair[black]<boy glasses<boy shirt[white]<boy book library",
    ),
    (
        "1girl, blonde hair, twintails, sailor uniform, pleated skirt, thighhighs, cherry blossoms, wind",
        "girl hair[blonde]<girl twintails<girl uniform[sailor]<girl skirt[pleated]<girl thighhighs<girl blossoms[cherry]",
    ),
    (
        "score_9, score_8_up, score_7_up, source_anime, 1girl, cat ears, cat tail, maid, apron, indoors",
        "girl ears[cat]<girl tail[cat]<girl maid=girl apron<girl",
    ),
    (
        "1girl, 1boy, couple, holding hands, sunset, beach, from behind",
        "girl boy beach",
    ),
    (
        "no humans, scenery, mountain, lake, cloud, tree, starry sky",
        "mountain lake cloud tree sky[starry]",
    ),
    (
        "1cat, orange fur, green eyes, sitting, window, rain",
        "cat[sitting] fur[orange]<cat eyes[green]<cat window rain",
    ),
    (
        "absurdres, highres, 3girls, multiple girls, red hair, blue hair, green hair, bikini, beach, ocean, umbrella",
        "girls hair[red]<girls hair[blue]<girls hair[green]<girls bikini<girls beach ocean umbrella",
    ),
    (
        "1girl, solo, red_hair, long_hair, blue_eyes, white_dress, sword, armor, castle, dragon",
        "girl hair[red]<girl hair[long]=hair eyes[blue]<girl dress[white]<girl sword armor<girl castle dragon",
    ),
    (
        "cyberpunk city, neon lights, rain, night, flying car, robot, photorealistic",
        "city[cyberpunk] lights[neon] rain car[flying] robot",
    ),
    (
        "1girl, straw hat, sunflower, field, blue sky, summer, white sundress",
        "girl hat[straw]<girl sunflower field sky[blue] sundress[white]<girl",
    ),
    (
        "portrait, 1woman, freckles, red lips, gold earrings, black turtleneck, studio lighting, bokeh",
        "woman freckles<woman lips[red]<woman earrings[gold]<woman turtleneck[black]<woman",
    ),
    (
        "best quality, 1girl, witch hat, broom, black cat, full moon, forest",
        "girl hat[witch]<girl broom cat[black] moon[full] forest",
    ),
    (
        "1girl, armor, sword, shield, battlefield, fire, smoke, dynamic pose",
        "girl armor<girl sword shield battlefield fire smoke",
    ),
    (
        "red apple, green car, wooden table, photo, 4k",
        "apple[red] car[green] table[wooden]",
    ),
    (
        "still life, glass vase, red roses, white tablecloth, candle, dark background",
        "vase[glass] roses[red] tablecloth[white] candle",
    ),
    (
        "chibi, 1girl, pink hair, animal ears, bell, ribbon, bow, open mouth, white background",
        "girl hair[pink]<girl ears[animal]<girl bell ribbon<girl bow<girl mouth[open]<girl",
    ),
    (
        "6+girls, idol, stage, microphone, spotlight",
        "girls idol=girls stage microphone spotlight",
    ),
    (
        "1other, robot, red eyes, cable, dark, ruins",
        "robot eyes[red]<robot cable<robot ruins",
    ),
    (
        "1girl, sitting on chair, crossed legs, coffee cup, cafe, window",
        "girl chair legs[crossed]<girl cup[coffee] cafe window",
    ),
    (
        "mecha, giant robot, blue armor, red wings, space, planet, stars",
        "mecha robot[giant]=mecha armor[blue]<robot wings[red]<robot planet stars",
    ),
    (
        "wolf, white fur, blue eyes, snow, forest, night, aurora",
        "wolf fur[white]<wolf eyes[blue]<wolf snow forest aurora",
    ),
    (
        "1girl, kimono, floral print, paper umbrella, river, bridge, autumn leaves",
        "girl kimono<girl umbrella[paper] river bridge leaves[autumn]",
    ),
    (
        "old man, long beard, blue robe, staff, cave, glowing mushrooms",
        "man[old] beard[long]<man robe[blue]<man staff cave mushrooms[glowing]",
    ),
    (
        "1girl, wet, see-through, arms up, armpits, cowboy shot",
        "girl[wet] arms<girl armpits<girl",
    ),
    (
        "hatsune miku, vocaloid, twintails, headphones, microphone, concert",
        "miku[hatsune] twintails<miku headphones<miku microphone",
    ),
    (
        "1girl, black jacket, white shirt, red tie, blue jeans, brown boots",
        "girl jacket[black]<girl shirt[white]<girl tie[red]<girl jeans[blue]<girl boots[brown]<girl",
    ),
    (
        "female knight, plate armor, long sword, red cape, white horse, castle",
        "knight[female] armor[plate]<knight sword[long] cape[red]<knight horse[white] castle",
    ),
    (
        "1girl, (red hair:1.3), [blue eyes], ((green dress)), garden",
        "girl hair[red]<girl eyes[blue]<girl dress[green]<girl garden",
    ),
    (
        "living room, sofa, lamp, bookshelf, plant, carpet, sunlight",
        "room[living] sofa lamp bookshelf plant carpet",
    ),
    (
        "dog, puppy, golden retriever, tongue out, grass, ball",
        "dog puppy=dog retriever[golden]=dog tongue<dog grass ball",
    ),
    (
        "1girl, hair ribbon, hair bow, side ponytail, hand on hip, choker",
        "girl ribbon[hair]<girl bow[hair]<girl ponytail[side]<girl hand<girl hip<girl choker<girl",
    ),
    (
        "bird, red feathers, branch, blurry background, macro",
        "bird feathers[red]<bird branch",
    ),
    (
        "2girls, one with red hair, one with blue hair, park bench",
        "girls one<girls hair[red]<one one<girls hair[blue]<one bench[park]",
    ),
    (
        "food, sushi, chopsticks, plate, no humans",
        "food sushi chopsticks plate",
    ),
    (
        "1girl, long hair, looking back, wind turbine, wheat field, blue sky, cumulonimbus cloud",
        "girl hair[long]<girl turbine[wind] field[wheat] sky[blue] cloud[cumulonimbus]",
    ),
    (
        "samurai, katana, red sun, mount fuji, cherry tree, ukiyo-e",
        "samurai katana sun[red] fuji[mount] tree[cherry]",
    ),
    (
        "1girl, wings, halo, white robe, clouds, light rays",
        "girl wings<girl halo<girl robe[white]<girl clouds",
    ),
]
