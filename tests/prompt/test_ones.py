"""Words that stand for a thing of a kind named before."""

from __future__ import annotations

import pytest
from prompt.test_mentions import said

from dymo.prompt import parse


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a red ball and a blue one", "ball[red] one[blue]"), ("a large box and a smaller one inside it", "box[large] one[smaller]"),
        ("the left apple is green and the right one is red", "apple[green] one[red]"),
        ("two red balls, a blue one", "balls[two red] one[blue]"), ("two cats and a black one", "cats[two] one[black]"),
        ("one red apple and two green ones", "apple[red] ones[two green]"), ("a black sheep among white ones", "sheep[black] ones[white]"),
        ("one red and one blue cup", "red cup[blue]"), ("two red and three green apples", "red[two] apples[three green]"),
        ("a red apple, a yellow and a green one", "apple[red] yellow one[green]"), ("a young and an old woman", "young woman[old]"),
        ("a wooden and a metal chair", "wooden chair[metal]"), ("one red, one blue and one green cup", "red blue cup[green]"),
        ("the first car is red, the second one is blue and the third one is green", "car[red] one[blue] one[green]"),
    ],
)  # fmt: skip
def test_another_of_a_kind_is_a_thing_of_its_own(prompt, right):
    assert said(parse(prompt)) == right


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("two cats, one black and one white, on a red sofa", "cats[two] one[black]<0 one[white]<0 sofa[red]"),
        ("two cups, one is red and the other is blue", "cups[two] one[red]<0 other[blue]<0"),
        ("two birds, the left one is red and the right one is blue", "birds[two] one[red]<0 one[blue]<0"),
        ("two dogs, one sleeping and one running", "dogs[two] one[sleeping]<0 one[running]<0"),
        ("two dogs, one with a red collar and one with a blue collar", "dogs[two] one<0 collar[red]<1 one<0 collar[blue]<3"),
        ("two houses, one painted blue and one painted yellow", "houses[two] one[blue]<0 one[yellow]<0"),
        ("three vases, one tall, one short and one round", "vases[three] one[tall]<0 one[short]<0 one[round]<0"),
        ("five balloons, two red and three yellow", "balloons[five] two[red]<0 three[yellow]<0"),
        ("two wolves, a black one and a white one", "wolves[two] one[black]<0 one[white]<0"),
        ("several chairs, some blue and some green", "chairs some[blue]<0 some[green]<0"),
        ("there are two apples: a red one and a green one", "apples[two] one[red]<0 one[green]<0"),
        ("five cars on the street, two of them are red", "cars[five] street two[red]<0"),
        ("three glass bottles, two of which are empty", "bottles[three glass] two[empty]<0"),
        ("three balls on a table, the first one is red, the second is blue", "balls[three] table one[red]<0 second[blue]<0"),
    ],
)  # fmt: skip
def test_one_of_several_is_a_part_of_them(prompt, right):
    assert said(parse(prompt)) == right


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("two chairs, one red chair and one blue chair", "chairs[two] chair[red] chair[blue]"),
        ("a man with one arm", "man arm<0"), ("two trees and one big, red barn", "trees[two] barn[red]"),
        ("a cat on one side of the box and a dog on the other", "cat box dog"), ("one large red apple", "apple[large red]"),
    ],
)  # fmt: skip
def test_a_number_before_its_noun_stands_for_nothing(prompt, right):
    assert said(parse(prompt)) == right
