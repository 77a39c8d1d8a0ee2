"""What one noun phrase says: what is denied in it, and which words of it describe its noun."""

from __future__ import annotations

import pytest
from prompt.test_mentions import said

from dymo.prompt import parse


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a dog not wearing a hat", "dog"), ("a man who is not wearing a hat", "man"), ("a woman not wearing shoes", "woman"),
        ("a cat that isn't holding a fish", "cat"), ("a dog that does not have a tail", "dog"), ("a woman isn’t wearing a hat", "woman"),
        ("a girl who doesn't wear glasses next to a boy with glasses", "girl boy glasses<1"),
        ("a kitchen lacking a window", "kitchen"), ("a beach free of people", "beach"), ("anything but a cat", ""),
        ("a room without any furniture, people or plants", "room"),
        ("a man not wearing a hat, a coat or shoes, next to a dog", "man dog"),
        ("a red but not shiny apple", "apple[red]"), ("a white, not red, car", "car[white]"), ("a black and not white cat", "cat[black]"),
    ],
)  # fmt: skip
def test_what_is_denied_is_not_shown(prompt, right):
    assert said(parse(prompt)) == right


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a dog not looking at a cat", "dog cat"), ("a person not far from a tree", "person tree"),
        ("a man without a hat, a dog", "man dog"), ("a robot with no arms, a red head and blue legs", "robot head[red] legs[blue]"),
        ("a cat and a fish. The cat isn't holding the fish.", "cat fish"), ("nothing but a cat", "cat"),
        ("the man in the red shirt is taller than the woman in the green dress", "man[taller] shirt[red]<0 woman dress[green]<2"),
        ("a bowl full of fruit", "bowl fruit<0"), ("a small, very green, box", "box[small green]"), ("an orange, not red", "orange"),
    ],
)  # fmt: skip
def test_what_is_not_denied_stays(prompt, right):
    assert said(parse(prompt)) == right


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a soda can and a beer bottle", "can[soda] bottle[beer]"), ("a Coca-Cola can", "can[Coca-Cola]"),
        ("a garbage can and a tin can", "can[garbage] can[tin]"), ("a watering can and a flower pot", "can[watering] pot[flower]"),
        ("a trash can next to a bus stop", "can[trash] stop[bus]"), ("a red can", "can[red]"), ("a can of soup", "can soup<0"),
        ("a crushed soda can lying on the street", "can[crushed soda] street"),
        ("a bird that can fly", "bird"), ("a robot can juggle balls", "robot balls"), ("a cat can never fly", "cat"),
    ],
)  # fmt: skip
def test_a_can_is_a_thing_unless_it_helps_a_verb(prompt, right):
    assert said(parse(prompt)) == right


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a rainbow colored car", "car[rainbow]"), ("cherry coloured lipstick", "lipstick[cherry]"),
        ("a snow covered mountain", "mountain[snow covered]"), ("snow covered mountains behind a lake", "mountains[snow covered] lake"),
        ("a leather bound book", "book[leather bound]"), ("a dark oak paneled room", "room[dark oak paneled]"),
        ("a diamond encrusted skull", "skull[diamond encrusted]"), ("a hand painted vase", "vase[hand painted]"),
        ("a small cat sized mouse next to a mouse sized cat", "mouse[small cat sized] cat[mouse sized]"),
        ("a dog chased cat", "dog cat"), ("a boy pushed a cart", "boy cart"), ("a storm destroyed houses", "storm houses"),
        ("a girl painted flowers", "girl flowers"), ("a car parked next to a tree", "car tree"),
        ("a cup filled with coffee", "cup coffee"), ("a mountain covered with snow", "mountain snow"),
    ],
)  # fmt: skip
def test_a_noun_and_a_participle_describe_the_noun_behind_them(prompt, right):
    assert said(parse(prompt)) == right


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("25 year old woman", "woman[25 year old]"), ("a 25-year-old woman", "woman[25-year-old]"),
        ("two 10 year old girls and a 70-year-old man", "girls[two 10 year old] man[70-year-old]"),
        ("a bald man, 60 years old, with a beard", "man[bald 60 years old] beard<0"), ("a woman aged 25 in a coat", "woman[aged 25] coat<0"),
        ("portrait, 1woman, 30 years old, cafe", "woman[30 years old] cafe"),
        ("the woman is thirty years old and the man is 60 years old", "woman[thirty years old] man[60 years old]"),
        ("a woman, 25 years old, and a man, 30 years old", "woman[25 years old] man[30 years old]"),
        ("an 8 year old", "8 year old"), ("a 100 year old house", "house[100 year old]"), ("a few year old wines", "wines[old]"),
    ],
)  # fmt: skip
def test_an_age_is_one_word_and_no_number_of_people(prompt, right):
    assert said(parse(prompt)) == right


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a ball colored in red", "ball[red]"), ("a chair in red and a table in blue", "chair[red] table[blue]"),
        ("a chair of red color", "chair[red]"), ("a ball in a bright red color", "ball[bright red]"),
        ("a dog, brown in color", "dog[brown]"), ("a cat, but blue", "cat[blue]"), ("a man in a coat, red", "man[red] coat<0"),
        ("a car, red, and a house, blue", "car[red] house[blue]"), ("a robot, tall, rusty", "robot[tall rusty]"),
        ("a woman wears green", "woman[green]"), ("a girl is wearing bright yellow", "girl[bright yellow]"),
        ("a woman dressed in green", "woman[green]"), ("a man clad in black", "man[black]"), ("a woman dressed in all white", "woman[white]"),
        ("a woman wears green and a man wears red and blue", "woman[green] man[red blue]"),
        ("a man in a hat wearing green", "man[green] hat<0"), ("a woman in a red dress wears white", "woman[white] dress[red]<0"),
        ("a woman and a man. The woman wears green and the man wears red.", "woman[green] man[red]"),
        ("a girl wearing pink holding a balloon", "girl[pink] balloon"), ("a woman in red walking a dog", "woman[red] dog"),
        ("a man in black rides a horse", "man[black] horse"), ("a man not wearing green", "man"), ("a bed in white bedding", "bed bedding[white]"),
        ("a fox, orange and white, flat vector", "fox[orange white]"), ("a portrait of a cat, black and white", "cat"),
        ("a robot. Its eyes glow green.", "robot eyes[green]<0"), ("a girl eating ice cream", "girl cream[ice]"),
        ("a mech with blue plating and orange lights in a city", "mech plating[blue] lights[orange] city"),
        ("a cat, black and white, on a sofa", "cat[black white] sofa"), ("a photo of a cat, black and white, on a sofa", "cat sofa"),
        ("a box, blue with white dots", "box[blue] dots[white]"), ("a boat painted green rests on a beach", "boat[green] beach"),
        ("blonde hair, smiling, blue eyes", "hair[blonde] eyes[blue]"), ("wearing glasses, chinese, pale skin", "glasses skin[pale]"),
        ("a photo of a cat in black and white", "cat"), ("a city in bright colors", "city"), ("a field in autumn", "field"),
    ],
)  # fmt: skip
def test_a_colour_behind_its_thing_describes_it(prompt, right):
    assert said(parse(prompt)) == right


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a man and a woman are sitting at a table, each holding a cup of coffee", "man woman table cup coffee<3"),
        ("two men each holding a sign", "men[two] sign"), ("three girls, all wearing red hats", "girls[three] hats[red]<0"),
        ("a girl in a yellow dress feeding pigeons", "girl dress[yellow]<0 pigeons"),
        ("friends sitting around a campfire roasting marshmallows", "friends campfire marshmallows"),
        ("a giraffe with a long striped scarf", "giraffe scarf[long striped]<0"),
        ("a dragon breathing fire at a knight", "dragon fire knight"),
        ("a blue butterfly landing on a purple flower", "butterfly[blue] flower[purple]"),
        ("a cabin, smoke rising from the chimney", "cabin smoke chimney"),
        ("a street lamp and a mailbox stand beside a fence", "lamp[street] mailbox fence"),
        ("a hot dog stand and a lemonade stand on a street", "stand[hot dog] stand[lemonade] street"),
        ("an alien sitting on a chair", "alien chair"), ("an alien and an astronaut", "alien astronaut"), ("a teen holding a phone", "teen phone"),
        ("an octopus with eight arms playing drums", "octopus arms[eight]<0 drums"), ("three dogs chasing cats", "dogs[three] cats"),
        ("a blue and yellow macaw perches on an arm", "macaw[blue yellow] arm"),
        ("both flying cars", "cars[flying]"), ("a hamburger and french fries", "hamburger fries[french]"),
        ("a plate of french fries", "plate fries[french]<0"), ("a woman aged 25, long wavy hair", "woman[aged 25] hair[long wavy]<0"),
        ("a woman wearing a yellow raincoat, harbor in the background", "woman raincoat[yellow]<0 harbor"),
        ("cows graze in a green field with a red tractor", "cows field[green] tractor[red]"),
    ],
)  # fmt: skip
def test_words_taken_for_another_kind(prompt, right):
    assert said(parse(prompt)) == right


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a girl waves at a dog", "girl dog"), ("girl waves at dog", "girl dog"), ("the girl waves", "girl"),
        ("a balloon floats in the sky, a girl waves", "balloon sky girl"), ("a rubber duck floats in a bathtub", "duck[rubber] bathtub"),
        ("a girl in a red dress waves at a boy", "girl dress[red]<0 boy"), ("a ship sails on the sea", "ship sea"),
        ("a dragon guards a castle", "dragon castle"), ("a woman smiles and waves", "woman"), ("a candle burns on a table", "candle table"),
        ("parade floats on a street", "floats[parade] street"), ("ocean waves on a beach", "waves[ocean] beach"),
        ("a fish and chips", "fish chips"), ("a dozen roses in a vase", "roses[dozen] vase"), ("the dog toys on a rug", "toys[dog] rug"),
        ("a ship with white sails", "ship sails[white]<0"),
    ],
)  # fmt: skip
def test_a_verb_in_s_is_no_plural_noun(prompt, right):
    assert said(parse(prompt)) == right


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a cat and a dog wear hats", "cat dog hats<0"), ("a boy and a girl hold balloons", "boy girl balloons"),
        ("two men and a woman ride bicycles", "men[two] woman bicycles"), ("children fly kites on a beach", "children kites beach"),
        ("a dog and a cat chase a ball", "dog cat ball"), ("a fox and a rabbit run through a forest", "fox rabbit forest"),
        ("a lion and a zebra drink water", "lion zebra water"), ("a cat and a dog play", "cat dog"),
        ("a man and a woman face each other", "man woman"),
        ("a cat and a dog house", "cat house[dog]"), ("a cat and a dog park bench", "cat bench[dog park]"),
        ("a car and a stop sign", "car sign[stop]"), ("a knife and a water bottle", "knife bottle[water]"),
    ],
)  # fmt: skip
def test_the_plain_verb_of_several_is_no_noun(prompt, right):
    assert said(parse(prompt)) == right
