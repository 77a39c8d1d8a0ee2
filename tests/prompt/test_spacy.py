from __future__ import annotations

import ast
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

spacy = pytest.importorskip("spacy")

from dymo.errors import PromptError  # noqa: E402
from dymo.miniature.world import ALL_THINGS, RELATIONS, captions  # noqa: E402
from dymo.prompt import parse  # noqa: E402
from dymo.prompt import spacy as parser  # noqa: E402

if not any(spacy.util.is_package(name) for name in parser.MODELS):
    pytest.skip("no English model is installed", allow_module_level=True)


def read(prompt: str) -> list[tuple[str, list[str]]]:
    return [(e.text.lower(), [a.text.lower() for a in e.attributes]) for e in parse(prompt).entities]


def truth(caption) -> list[tuple[str, list[str]]]:
    return [(thing.noun, [thing.colour]) for thing in caption.things]


# Over 300 of them exist in each split; `captions` does not return when asked for more than there are.
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
    ],
)
def test_how_english_attaches_attributes(prompt, expected):
    assert read(prompt) == expected


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
    sources = Path(parser.__file__).parent.glob("*.py")
    trees = [node for source in sources for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))]
    names = {alias.name for node in trees if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in trees if isinstance(node, ast.ImportFrom)}
    assert "dymo.prompt.graph" in names
    assert not {name.split(".")[0] for name in names} & {"torch", "transformers", "diffusers"}


def test_importing_dymo_does_not_import_spacy():
    code = "import sys, dymo; print('spacy' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "False"
