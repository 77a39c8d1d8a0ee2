"""What the spaCy parser makes of prompts as people write them: places, styles that are things, materials, tags, markup."""

from __future__ import annotations

import time
import unicodedata
import warnings

import pytest
from prompt.opposed import PROMPTS, right_pairs
from prompt.places import sentences

from dymo.errors import PromptWarning
from dymo.prompt import load_parser, parse


def heads(prompt: str) -> list[str]:
    return [entity.text.lower() for entity in parse(prompt).entities]


def read(prompt: str) -> list[tuple[str, list[str]]]:
    return [(e.text.lower(), [a.text.lower() for a in e.attributes]) for e in parse(prompt).entities]


def apart(prompt: str, wholes_and_parts: bool = False) -> set[frozenset[str]]:
    graph = parse(prompt)
    return {
        frozenset((graph.entities[i].text.lower(), graph.entities[j].text.lower()))
        for i, j in graph.opposed(wholes_and_parts)
    }


def test_w1_both_things_and_their_place_are_read_in_any_wording():
    cases = sentences(100)
    wrong = []
    for case, graph in zip(cases, load_parser("spacy").parse_many([case.text for case in cases]), strict=True):
        relations = [(graph.entities[r.subject].text, graph.entities[r.object].text) for r in graph.relations]
        telling = {
            "left",
            "right",
            "above",
            "below",
            "side",
            "top",
            "front",
            "under",
            "underneath",
            "beneath",
            "over",
            "next",
        }
        said = {word for relation in graph.relations for word in relation.text.split()}
        right = [e.text for e in graph.entities] == [case.subject, case.object] == list(*relations[:1])
        if not right or not telling & set(case.place.split()) <= said:
            wrong.append(case.text)
    assert len(wrong) <= 5, wrong


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a photo of a pencil and a traffic light", ["pencil", "light"]),
        ("a red picture frame above a brown bed", ["frame", "bed"]),
        ("a blue painting on a white wall", ["painting", "wall"]), ("a painting and a poster", ["painting", "poster"]),
        ("a photo of a canvas", ["canvas"]), ("a yellow logo and a green basketball", ["logo", "basketball"]),
        ("a white remote control next to a black magazine", ["control", "magazine"]),
        ("a golden ornament", ["ornament"]), ("an oven and a bed", ["oven", "bed"]),
        ("a large mural of a whale on a building", ["whale", "building"]), ("a minimalist line drawing of a face", ["face"]),
        ("headshot of a man", ["man"]), ("a logo for a coffee shop, a red cup", ["cup"]), ("a book cover for a novel, a dragon", ["dragon"]),
        ("a painting of a cat", ["cat"]), ("a lighthouse, oil painting, dramatic lighting", ["lighthouse"]),
        ("pencil sketch of a fox, canvas texture", ["fox"]), ("create a poster showing a dog", ["dog"]),
    ],
)  # fmt: skip
def test_w2_words_of_style_are_things_where_they_stand_among_things(prompt, expected):
    assert heads(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a table that is made of glass", [("table", ["glass"])]), ("a ring made out of gold", [("ring", ["gold"])]),
        ("a statue of a horse", [("statue", ["horse"])]), ("a bag of leather", [("bag", ["leather"])]),
        ("a heart of gold and a car", [("heart", ["gold"]), ("car", [])]),
        ("a house built entirely from red bricks", [("house", ["red", "bricks"])]),
        ("a statue of a horse made of gold and glass", [("statue", ["horse", "gold", "glass"])]),
        ("a bench made of wood and stone", [("bench", ["wood", "stone"])]),
        ("the countertop is white marble", [("countertop", ["white", "marble"])]),
        ("a house made of candy, a girl and a boy", [("house", ["candy"]), ("girl", []), ("boy", [])]),
    ],
)  # fmt: skip
def test_w3_materials_and_what_a_statue_shows_describe_one_thing(prompt, expected):
    assert read(prompt) == expected


def test_w3_what_holds_and_what_is_in_it_are_not_drawn_apart():
    assert apart("a bowl of fruit and a glass of water") == right_pairs(
        "bowl glass, bowl water, fruit glass, fruit water"
    )


def test_w4_tags_about_the_image_are_in_no_negative():
    tags = "score_9, 1girl, solo, long hair, smile, upper body, looking at viewer, best quality, cherry blossoms"
    assert apart(tags) == right_pairs("girl blossoms, hair blossoms")
    assert apart("beautiful girl, cheerleader") == set()
    assert apart("a dragon on a hill, the green dragon sleeps") == right_pairs("dragon hill")


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat in a {red|green} hat", [("cat", []), ("hat", ["red", "green"])]),
        ("cat wearing {red|green} hat", [("cat", []), ("hat", ["red", "green"])]),
        ("a (red:1.3) hat", [("hat", ["red"])]),
        ("a sign that says hello world above a door", [("sign", []), ("door", [])]),
        ("a neon sign reading OPEN on a door", [("sign", ["neon"]), ("door", [])]),
        ("a man reading a book", [("man", []), ("book", [])]),
        ("neither a cat nor a dog", []), ("a woman, no-clothes", [("woman", [])]),
    ],
)  # fmt: skip
def test_w5_markup_texts_to_write_and_negations(prompt, expected):
    assert read(prompt) == expected


def test_w5_alternatives_are_one_thing():
    for prompt in ("[dog:cat:0.5] on a sofa", "a [dog|cat] on a sofa", "{dog|cat} on a sofa"):
        assert apart(prompt, wholes_and_parts=True) == right_pairs("dog sofa, cat sofa")


def test_w6_a_short_foreign_prompt_warns():
    for prompt in ("gato rojo y perro azul", "zwei rote Äpfel"):
        with pytest.warns(PromptWarning, match="reads English only"):
            assert parse(prompt).entities == ()


def test_w7_what_is_worn_and_parts_are_drawn_apart_on_request_only():
    prompt = "a woman in a red jacket with blue eyes next to a car with big wheels"
    assert apart(prompt) >= right_pairs("woman car, jacket car, eyes wheels")
    for pair in (("woman", "jacket"), ("woman", "eyes"), ("car", "wheels")):
        assert frozenset(pair) not in apart(prompt)
        assert frozenset(pair) in apart(prompt, wholes_and_parts=True)
    # Told apart by how they are tied, not by their kind.
    assert apart("a hat and a cat") == right_pairs("hat cat")


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("a cat and a dog both wearing hats", "cat dog"),
        ("a cat and a dog both wearing hats next to a tree", "cat dog, cat tree, dog tree, hats tree"),
        ("a man and a woman, both with red hair", "man woman"), ("a cat wearing a hat and a dog", "cat dog, hat dog"),
    ],
)  # fmt: skip
def test_w7_what_several_wear_is_drawn_apart_from_none_of_them(prompt, right):
    assert apart(prompt) == right_pairs(right)


@pytest.mark.parametrize(
    "prompt",
    ["," * 10_000, "a," * 5_000, "red apple and " * 1_500, "🐱 " * 3_000, "[a|" * 2_000, "a cat and a dog are both in a car " * 60],
)
def test_w8_no_prompt_takes_long(prompt):
    parse("a cat")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromptWarning)
        began = time.process_time()
        parse(prompt)
    assert time.process_time() - began < 2


def test_w8_what_is_not_read_is_told():
    with pytest.warns(PromptWarning, match="longer than 500"):
        parse("a red apple and a green car, " * 100)


@pytest.mark.parametrize(
    "prompt",
    [
        "a red apple https://example.com/x?y=1 and a green car", "a red <b>apple</b> and a green<br/>car",
        "a\x07red\x1b apple and a green\x00car", "a red ap\u200bple and a green car",
    ],
)  # fmt: skip
def test_w8_addresses_tags_and_control_characters_leave_the_words_beside_them(prompt):
    graph = parse(prompt)
    found = [("".join(c for c in e.text if c.isalpha()), [a.text for a in e.attributes]) for e in graph.entities]
    assert found == [("apple", ["red"]), ("car", ["green"])]


def test_w8_decomposed_accents_keep_the_thing_and_its_whole_span():
    prompt = unicodedata.normalize("NFD", "a red café beside a piñata")
    graph = parse(prompt)
    assert [unicodedata.normalize("NFC", e.text) for e in graph.entities] == ["café", "piñata"]


def test_negatives_of_sixty_prompts_are_right():
    """At most 10 % of the opposed pairs are wrong, and at most 10 % of the right ones are missing."""
    wrong = total = missing = wanted = 0
    for (_, said), graph in zip(PROMPTS, load_parser("spacy").parse_many([p for p, _ in PROMPTS]), strict=True):
        right = right_pairs(said)
        found = [
            frozenset((graph.entities[i].text.lower(), graph.entities[j].text.lower())) for i, j in graph.opposed()
        ]
        wrong += sum(pair not in right for pair in found)
        missing += len(right - set(found))
        total, wanted = total + len(found), wanted + len(right)
    assert len(PROMPTS) == 60 and wanted > 100
    assert wrong <= 0.1 * total and missing <= 0.1 * wanted
