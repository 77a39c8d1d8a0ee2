"""Weights in prompts: what is left to read, where it stood, and how much it counts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dymo.errors import PromptError
from dymo.prompt import Attribute, Entity, SemanticGraph
from dymo.prompt.reading import read


@pytest.mark.parametrize(
    ("prompt", "text", "weighted"),
    [
        ("a red car", "a red car", []), ("a (red:1.3) car", "a red car", [("red", 1.3)]),
        ("(red) car", "red car", [("red", 1.1)]), ("((red)) car", "red car", [("red", 1.1**2)]),
        ("[red] car", "red car", [("red", 1 / 1.1)]), ("(red: 0.5 ) car", "red car", [("red", 0.5)]),
        ("(a (red:1.5) car:0.5)", "a red car", [("a", 0.5), ("red", 0.75), ("car", 0.5)]),
        ("([red]:2)", "red", [("red", 2 / 1.1)]), ("(red car:-1)", "red car", [("red car", -1.0)]),
        # compel's
        ("(red)1.3 car", "red car", [("red", 1.3)]), ("(red)++ car", "red car", [("red", 1.1**2)]),
        ("(red)- car", "red car", [("red", 0.9)]), ("red++ car", "red car", [("red", 1.1**2)]),
        # Text: escaped, without a partner, part of a word, of one letter.
        (r"saber \(fate\)", "saber (fate)", []), (r"a \\ b \[x\]", r"a \ b [x]", []), ("a car :)", "a car :)", []),
        ("(red car", "(red car", []), ("(semi)-transparent", "semi-transparent", [("semi", 1.1)]), ("C++", "C++", []),
        ("a {red|green} hat", "a {red|green} hat", []), ("a very: long, red:1.3 car", "a very: long, red:1.3 car", []),
    ],
)  # fmt: skip
def test_weights_are_read_as_web_uis_and_compel_read_them(prompt, text, weighted):
    found = read(prompt)
    found.check()
    assert found.text == text
    assert [run for run, _ in found.weighted] == [run for run, _ in weighted]
    assert [weight for _, weight in found.weighted] == pytest.approx([weight for _, weight in weighted])


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("[cat:dog:0.5]", r"\[cat:dog:0.5\] changes its words during the run"), ("[cat|dog] on", "write those of one of them"),
        ("[red:0.8] car", r"for a weight write \(red:0.8\)"), ("a clock at (12:30)", r"30 times, 10 at most.*\\\("),
        ("<lora:x:0.8> cat", "--lora FILE:0.8, or pipe.load_lora_weights"), ("a (red:1.3 car", r"is not closed: write \(red:1.3\)"),
    ],
)  # fmt: skip
def test_what_no_embedding_can_do_is_refused_by_name(prompt, says):
    with pytest.raises(PromptError, match=says):
        read(prompt).check()


def test_brackets_are_text_on_request():
    found = read(r"a (red:1.3) \(car\)", "plain")
    found.check()
    assert found.text == found.prompt and not found.weighted


@given(st.text(alphabet="ab ()[]:1.3\\+-|<", max_size=30))
@settings(max_examples=150)
def test_every_letter_keeps_its_place_and_only_marks_are_lost(prompt):
    found = read(prompt)
    assert len(found.text) == len(found.places) == len(found.weights)
    assert list(found.places) == sorted(set(found.places))
    assert all(prompt[place] == letter for letter, place in zip(found.text, found.places, strict=True))
    gone = [c for i, c in enumerate(prompt) if i not in set(found.places)]
    assert set(gone) <= set("()[]:1.3\\+- ")
    assert read(found.text.replace("\\", "")).prompt == found.text.replace("\\", "")


def test_a_graph_of_the_prompt_and_one_of_its_text_are_the_same():
    found = read("a (red:1.3) [big] car")
    inner = SemanticGraph(
        "a red big car", (Entity("car", (10, 13), (Attribute("red", (2, 5)), Attribute("big", (6, 9)))),)
    )
    outer = found.outside(inner)
    assert outer.prompt == found.prompt and [w.span for w in outer.entities[0].attributes] == [(3, 6), (13, 16)]
    assert found.inside(outer) == found.inside(inner) == inner
    with pytest.raises(PromptError, match="the graph is of the prompt 'a blue car'"):
        found.inside(SemanticGraph("a blue car", ()))
    with pytest.raises(PromptError, match="is a mark of the prompt"):
        found.inside(SemanticGraph(found.prompt, (Entity("1.3", (7, 10)),)))
