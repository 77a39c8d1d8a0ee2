"""Whose hair, hat and wheel it is."""

from __future__ import annotations

import pytest
from prompt.test_mentions import said

from dymo.prompt import parse


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a dog with a red collar chasing a cat with a blue ribbon", "dog collar[red]<0 cat ribbon[blue]<2"),
        ("a girl with a red scarf hugging a boy with green hair", "girl scarf[red]<0 boy hair[green]<2"),
        ("a man watching a bird with a red beak", "man bird beak[red]<1"),
        ("a child feeding a duck with an orange beak", "child duck beak[orange]<1"),
        ("a boy holding a doll with blonde hair", "boy doll hair[blonde]<1"),
        ("a man driving a car with big wheels", "man car wheels[big]<1"),
        ("a woman in a dress with red hair", "woman dress<0 hair[red]<0"), ("a girl sitting on a chair with long hair", "girl chair hair[long]<0"),
        ("a squirrel holding an acorn with its paws", "squirrel acorn paws<0"), ("a man riding a bike with a helmet", "man bike helmet<0"),
        ("a house on a hill with a red door", "house hill door[red]<0"), ("a car on a road with big wheels", "car road wheels[big]<0"),
        ("a house on a hill near a lake with a red roof", "house hill lake roof[red]<0"),
        ("a cabin by a lake with a chimney", "cabin lake chimney<0"),
        ("a house on a hill with a red door and a blue roof", "house hill door[red]<0 roof[blue]<0"),
        ("a woman on a beach with red hair", "woman beach hair[red]<0"), ("a table on a lawn with metal legs", "table lawn legs[metal]<0"),
        ("a street with a house with a red door", "street house door[red]<1"), ("a hill with a red door", "hill door[red]<0"),
        ("a bear holding a fish in its mouth", "bear fish mouth<0"), ("a girl holding a cat in her arms", "girl cat arms<0"),
        ("an old man on a bench while pigeons gather around his feet", "man[old] bench pigeons feet<0"),
        ("a boy feeding a dog on its head", "boy dog head<1"), ("an owl on a stack of books", "owl books"),
        ("a house next to a barn with a red door", "house barn door[red]<1"), ("a house on a hill with trees", "house hill trees"),
        ("a table in a kitchen with metal legs", "table kitchen legs[metal]<0"), ("a woman in a kitchen with red hair", "woman kitchen hair[red]<0"),
        ("a table in a kitchen with large windows", "table kitchen windows[large]<1"),
        ("a cart in a garage with big wheels", "cart garage wheels[big]<0"),
        ("a man cutting bread with a knife", "man bread knife"), ("a knight fighting a dragon with a sword", "knight dragon sword"),
    ],
)  # fmt: skip
def test_what_is_behind_with_belongs_to_the_one_before_it_that_can_have_it(prompt, right):
    assert said(parse(prompt)) == right


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a boy wearing a blue t-shirt and a green cap", "boy t-shirt[blue]<0 cap[green]<0"),
        ("a statue wearing aviator goggles, white t-shirt and leather jacket", "statue goggles[aviator]<0 t-shirt[white]<0 jacket[leather]<0"),
        ("a corgi wearing a red bowtie and a purple party hat", "corgi bowtie[red]<0 hat[purple party]<0"),
        ("an elf with a longbow, a green cloak, leather boots and a dog", "elf longbow cloak[green]<0 boots[leather]<0 dog"),
        ("a shop with a counter, a coat and a hat", "shop counter coat hat"),
        ("a woman in a red coat with a black hood", "woman coat[red]<0 hood[black]<0"),
        ("a tiger wearing a train conductor's hat", "tiger hat[train conductor]<0"),
        ("a scientist looking through a microscope wearing a white coat", "scientist microscope coat[white]<0"),
        ("an old woman feeds the pigeons, which gather around her red shoes", "woman[old] pigeons shoes[red]<0"),
        ("a man wearing a lampshade", "man lampshade<0"), ("a woman dressed in leaves", "woman leaves<0"),
        ("a cat in a hat wearing a scarf", "cat hat<0 scarf<0"), ("an elephant with tusks", "elephant tusks<0"),
        ("a dragon with green scales", "dragon scales[green]<0"),
        ("two women, the woman on the left wears a hat", "women[two] woman<0 hat<1"),
        ("a man with black hair. He is wearing a red shirt.", "man hair[black]<0 shirt[red]<0"),
        ("a girl wearing latex and high heels", "girl latex<0 heels[high]<0"),
        ("a man wearing a helmet and a motorcycle", "man helmet<0 motorcycle"), ("a man wearing a suit and a woman", "man suit<0 woman"),
        ("a woman wearing a necklace, a tree behind her", "woman necklace<0 tree"),
        ("a man wearing a hat and holding a cap", "man hat<0 cap"),
        ("a cat wearing a hat and a dog wearing sunglasses", "cat hat<0 dog sunglasses<2"),
        ("two men in matching red jackets", "men[two] jackets[red]<0"), ("a tiger in a hat wearing a scarf", "tiger hat<0 scarf<0"),
        ("a woman in a denim jacket over a white shirt", "woman jacket[denim]<0 shirt[white]<0"),
        ("a woman dressed as a pirate with a green parrot on her shoulder", "woman[pirate] parrot[green] shoulder<0"),
    ],
)  # fmt: skip
def test_what_is_worn_is_its_wearers_whatever_it_is(prompt, right):
    assert said(parse(prompt)) == right


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a man with a beard. His expression is calm.", "man beard<0"), ("a man whose beard is long holds a pipe", "man beard[long]<0 pipe"),
        ("a man whose hat is red", "man hat[red]<0"), ("a car whose door is open", "car door[open]<0"),
        ("a girl, whose eyes are blue, holds a cup", "girl eyes[blue]<0 cup"), ("a man with a hat whose beard is red", "man hat<0 beard[red]<0"),
        ("a dog whose collar is blue and a cat whose eyes are green", "dog collar[blue]<0 cat eyes[green]<2"),
        ("a red bicycle and a cat. Its basket is filled with eggs, its tires are white.", "bicycle[red] cat basket<0 eggs tires[white]<0"),
        ("a young woman sitting at a desk. She has red hair and wears glasses.", "woman[young] desk hair[red]<0 glasses<0"),
        ("a dog and a girl in a park. It has a red collar. She has a blue hat.", "dog girl park collar[red]<0 hat[blue]<1"),
        ("a sofa on a rug. A large painting of a sailboat hangs on the wall.", "sofa rug sailboat wall"),
    ],
)  # fmt: skip
def test_whose_is_what_a_clause_or_sentence_of_its_own_is_about(prompt, right):
    assert said(parse(prompt)) == right
