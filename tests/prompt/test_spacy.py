from __future__ import annotations

import ast
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

spacy = pytest.importorskip("spacy")

from dymo.errors import PromptError, PromptWarning  # noqa: E402
from dymo.miniature.world import ALL_THINGS, RELATIONS, captions  # noqa: E402
from dymo.prompt import load_parser, parse  # noqa: E402
from dymo.prompt import spacy as parser  # noqa: E402

if not any(spacy.util.is_package(name) for name in parser.MODELS):
    pytest.skip("no English model is installed", allow_module_level=True)


def read(prompt: str) -> list[tuple[str, list[str]]]:
    return [(e.text.lower(), [a.text.lower() for a in e.attributes]) for e in parse(prompt).entities]


def truth(caption) -> list[tuple[str, list[str]]]:
    """A count is read as an attribute: "two red apples" are apples that are two and red."""
    words = [thing.text.split() for thing in caption.things]
    return [(said[-1], said[said[0] in ("a", "an") : -1]) for said in words]


@pytest.mark.parametrize("split", ["tune", "test"])
@pytest.mark.parametrize("case", [str, str.upper, str.title])
def test_every_caption_of_the_world_is_read_right(split, case):
    wrong = [c.text for c in captions(split, 150) if read(case(c.text)) != truth(c)]
    assert wrong == []


def test_every_thing_of_the_world_is_read_right_alone():
    assert [t.text for t in ALL_THINGS if read(t.text) != [(t.noun, [t.colour])]] == []


def test_nouns_that_are_also_verbs_or_colours_are_read_right():
    nouns = ("fly", "bow", "orange", "rose", "saw", "duck", "watch", "swing", "bat", "bear", "plane", "fork", "torch")
    colours = ("red", "orange", "pink", "brown", "small", "blue")
    rng = random.Random(0)
    wrong = []
    for _ in range(80):
        (a, b), (c, d) = rng.sample(nouns, 2), rng.sample(colours, 2)
        prompt = f"a {c} {a} {rng.choice([*RELATIONS, 'and', 'on top of', 'in front of', 'behind'])} a {d} {b}"
        if read(prompt) != [(a, [c]), (b, [d])]:
            wrong.append(prompt)
    assert wrong == []


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a dog that is red", [("dog", ["red"])]),
        ("the car is blue and the dog is brown", [("car", ["blue"]), ("dog", ["brown"])]),
        ("the color of the car is blue", [("car", ["blue"])]),
        ("red and blue balloons", [("balloons", ["red", "blue"])]),
        ("a red apple and a green car", [("apple", ["red"]), ("car", ["green"])]),
        ("a big, fluffy, white cat", [("cat", ["big", "fluffy", "white"])]),
        ("a soccer ball", [("ball", ["soccer"])]),
        ("two yellow t-shirts", [("t-shirts", ["two", "yellow"])]),
        ("a folded shirt and a flying red car", [("shirt", ["folded"]), ("car", ["flying", "red"])]),
        ("a glass vase and a hat made of paper", [("vase", ["glass"]), ("hat", ["paper"])]),
        ("a man with no hat", [("man", [])]),
        ("a bear that is not green", [("bear", [])]),
        ("in the background, a blue mountain", [("mountain", ["blue"])]),
        ("a cat on top of a table to the left of a sofa", [("cat", []), ("table", []), ("sofa", [])]),
        ("a group of small dogs", [("dogs", ["small"])]),
        ("an orange", [("orange", [])]),
        ("a monkey dancing", [("monkey", ["dancing"])]),
        ("a girl wearing a hat", [("girl", []), ("hat", [])]),
        ("a woman wearing a long coat dancing", [("woman", ["dancing"]), ("coat", ["long"])]),
        ("a wizard with a long beard", [("wizard", []), ("beard", ["long"])]),
        ("a cat's red hat", [("hat", ["cat", "red"])]),
        ("a turtle who is a shaman", [("turtle", ["shaman"])]),
        ("a poodle as a scientist", [("poodle", ["scientist"])]),
        ("a dog on a hill. The dog is black", [("dog", ["black"]), ("hill", [])]),
        ("a robot, tall, rusty", [("robot", ["tall", "rusty"])]),
        ("a castle, moody, cinematic", [("castle", [])]),
        ("boats like swans", [("boats", [])]),
        ("a girl without shoes or a hat", [("girl", [])]),
        ("a sign that says 'free beer'", [("sign", [])]),
        ("a knight from Game of Thrones", [("knight", [])]),
        ("a lake, by John Smith, Jane Doe and Ann Lee", [("lake", [])]),
        ("a happiness of freedom over a lake", [("lake", [])]),
        ("a lion portrait", [("lion", [])]),
        ("green hair color", [("hair", ["green"])]),
        ("2girls, long_hair, smiling", [("girls", ["smiling"]), ("hair", ["long"])]),
        ("((frog head:1.2)), [blue] chair <lora:x:0.5>", [("head", ["frog"]), ("chair", ["blue"])]),
        ("the friendship", [("friendship", [])]),
        ("cat dog", [("cat", []), ("dog", [])]),
        ("a cat dog", [("dog", ["cat"])]),
        ("the cat's red collar", [("collar", ["cat", "red"])]),
        ("a bowl full of red strawberries", [("bowl", []), ("strawberries", ["red"])]),
        ("a full moon", [("moon", ["full"])]),
        ("two men in blue suits", [("men", ["two"]), ("suits", ["blue"])]),
        ("a red apple 🍎 and a 🚗 green car ❤️", [("apple", ["red"]), ("car", ["green"])]),
        ("✨ a cat 🐱🐱 on a mat", [("cat", []), ("mat", [])]),
        ("a red 🍎 and a green 🚗", [("🍎", ["red"]), ("🚗", ["green"])]),
        ("🐱🐶", [("🐱", []), ("🐶", [])]),
    ],
)
def test_how_english_attaches_attributes(prompt, expected):
    assert read(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat on a table", [("cat", "on", "table")]),
        ("a cat on top of the table", [("cat", "on top of", "table")]),
        ("a red car to the left of a dog", [("car", "to the left of", "dog")]),
        ("a knight fighting a dragon in a castle", [("knight", "fighting", "dragon"), ("dragon", "in", "castle")]),
        ("a man is holding a cup next to a lamp", [("man", "holding", "cup"), ("cup", "next to", "lamp")]),
        ("a woman with red hair wearing a coat", [("woman", "with", "hair"), ("woman", "wearing", "coat")]),
        ("a cat and a dog", []),
        ("a bowl full of strawberries", [("bowl", "full of", "strawberries")]),
        ("a man without a hat on a horse", [("man", "on", "horse")]),
    ],
)
def test_relations_are_kept(prompt, expected):
    graph = parse(prompt)
    found = [(graph.entities[r.subject].text, r.text, graph.entities[r.object].text) for r in graph.relations]
    # Which thing a second preposition belongs to, English leaves open.
    assert [r[1:] for r in found] == [r[1:] for r in expected]
    assert found[:1] == expected[:1]


def test_another_language_is_told_and_has_no_entities():
    with pytest.warns(PromptWarning, match="looks like German"):
        graph = parse("ein Hund und eine Katze mit Hut")
    assert graph.entities == ()


def test_many_prompts_are_read_as_one_by_one():
    prompts = [c.text for c in captions("tune", 20)] + ["(a cat:1.3), 8k", "a dog that is red"]
    assert list(load_parser("spacy").parse_many(prompts)) == [parse(p) for p in prompts]


def test_style_words_are_no_entities():
    graph = parse("a photo of a red fox, cinematic lighting, realistic, 4k")
    assert [e.text for e in graph.entities] == ["fox"]
    assert {"photo", "cinematic", "realistic", "4k"} <= set(graph.style)


@pytest.mark.parametrize("prompt", ["a  RED \n apple\t and a  green car ", "🎈 a red apple — a car", "İ a red apple"])
def test_spans_refer_to_the_prompt_as_it_was_given(prompt):
    graph = parse(prompt)
    words = [word for e in graph.entities for word in (e, *e.attributes)]
    assert {"apple", "red"} <= {word.text.lower() for word in words}
    assert all(prompt[slice(*word.span)] == word.text for word in words)


@pytest.mark.parametrize("prompt", ["", "  \n", None])
def test_an_empty_prompt_is_refused(prompt):
    with pytest.raises(PromptError, match="empty"):
        parse(prompt)


@pytest.mark.filterwarnings("ignore::dymo.errors.PromptWarning")
@pytest.mark.parametrize("prompt", [".", "!!!", "...,,,", "\u200b", "日本語", "-", "a - b", "---", "red", "is", "not"])
def test_a_prompt_without_things_is_no_error(prompt):
    assert parse(prompt).prompt == prompt


def test_a_missing_model_says_what_to_install(monkeypatch):
    monkeypatch.setattr(spacy.util, "is_package", lambda name: False)
    parser.load_model.cache_clear()
    try:
        with pytest.raises(PromptError, match="pip install"):
            parser.load_model()
    finally:
        parser.load_model.cache_clear()


def test_the_room_stands_on_no_model_library():
    sources = Path(parser.__file__).parent.rglob("*.py")
    # The local model's parser is of transformers by its nature, and imports it where it is made.
    trees = [
        node
        for source in sources
        if source.name not in ("local.py", "rewriter.py")
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
    ]
    names = {alias.name for node in trees if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in trees if isinstance(node, ast.ImportFrom)}
    assert "dymo.prompt.graph" in names
    assert not {name.split(".")[0] for name in names} & {"torch", "transformers", "diffusers"}


def test_importing_dymo_does_not_import_spacy():
    code = "import sys, dymo; print('spacy' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "False"
