from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dymo.errors import DyMOError, PromptError
from dymo.prompt import Attribute, Entity, Relation, SemanticGraph

WORD = st.text(alphabet="abcdéßÄ", min_size=1, max_size=5)


@st.composite
def graphs(draw) -> SemanticGraph:
    """A graph over words joined by odd white space, each word an entity or an attribute of one."""
    words = draw(st.lists(WORD, min_size=1, max_size=6))
    gaps = draw(st.lists(st.sampled_from([" ", "  ", "\n", ", "]), min_size=len(words), max_size=len(words)))
    prompt, spans = "", []
    for word, gap in zip(words, gaps, strict=True):
        spans.append((len(prompt), len(prompt) + len(word)))
        prompt += word + gap
    rng = random.Random(draw(st.integers(0, 100)))
    chosen = [s for s in spans if rng.random() < 0.7]
    entities = []
    for span in chosen:
        described = [s for s in spans if s != span and rng.random() < 0.3]
        attributes = tuple(Attribute(prompt[slice(*s)].swapcase().swapcase(), s) for s in described)
        if all(a.text.lower() == prompt[slice(*a.span)].lower() for a in attributes):
            entities.append(Entity(prompt[slice(*span)], span, attributes))
    return SemanticGraph(prompt, tuple(entities), tuple(draw(st.lists(WORD, max_size=2))))


@given(graphs())
@settings(max_examples=60)
def test_json_round_trip(graph):
    assert SemanticGraph.from_json(graph.to_json()) == graph
    assert SemanticGraph.from_json(json.loads(graph.to_json())) == graph


@given(st.lists(st.sampled_from(["cat", "dog", "Cat"]), min_size=1, max_size=6))
@settings(max_examples=40)
def test_the_nth_use_takes_the_nth_occurrence(words):
    prompt = " ".join(words)
    graph = SemanticGraph.from_json({"prompt": prompt, "entities": [{"text": w.lower()} for w in words]})
    for kind in ("cat", "dog"):
        starts = [e.span[0] for e in graph.entities if e.text.lower() == kind]
        assert starts == sorted(starts)
    assert {e.span for e in graph.entities} == {
        (sum(len(w) + 1 for w in words[:i]), sum(len(w) + 1 for w in words[:i]) + len(words[i]))
        for i in range(len(words))
    }


def test_attributes_are_found_nearest_their_entity():
    prompt = "a red car and a Red hat"
    graph = SemanticGraph.from_json(
        {"prompt": prompt, "entities": [{"text": "hat", "attributes": ["red"]}, {"text": "car", "attributes": ["red"]}]}
    )
    hat, car = graph.entities
    assert hat.attributes[0].span == (16, 19)
    assert car.attributes[0].span == (2, 5)


def test_a_long_entity_is_not_taken_for_the_short_one_in_it():
    prompt = "a soccer  ball and a ball"
    graph = SemanticGraph.from_json({"prompt": prompt, "entities": [{"text": "ball"}, {"text": "soccer ball"}]})
    assert [e.span for e in graph.entities] == [(21, 25), (2, 14)]


def test_only_whole_words_are_found():
    graph = SemanticGraph.from_json({"prompt": "a carpet under a car", "entities": [{"text": "car"}]})
    assert graph.entities[0].span == (17, 20)


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        ("{", "JSON"),
        ("[" * 100_000, "JSON"),
        ("[]", "the whole"),
        (3, "the whole"),
        ({}, "prompt"),
        ({"prompt": 3}, "prompt: give a text"),
        ({"prompt": "a cat", "entities": "cat"}, "list"),
        ({"prompt": "a cat", "entities": ["cat"]}, r"entities\.0"),
        ({"prompt": "a cat", "entities": [{"text": 3}]}, "text"),
        ({"prompt": "a cat", "entities": [{"text": " "}]}, r"entities\.0\.text"),
        ({"prompt": "a cat", "entities": [{"text": "cat", "span": [2]}]}, "span"),
        ({"prompt": "a cat", "entities": [{"text": "cat", "span": [False, True]}]}, "span"),
        ({"prompt": "a cat", "entities": [{"text": "cat", "attribute": ["a"]}]}, "attribute"),
        ({"prompt": "a cat", "entities": [{"text": "cat", "attributes": [3]}]}, "attributes"),
        ({"prompt": "a cat", "style": [3]}, "style"),
        ({"prompt": "a cat", "entities": [{"text": "dog"}]}, "'dog' is not in the prompt 'a cat'"),
        ({"prompt": "a cat", "entities": [{"text": "cat"}, {"text": "cat"}]}, "too many"),
        ({"prompt": "a cat", "entities": [{"text": "cat", "attributes": ["red"]}]}, "'red' is not in the prompt"),
    ],
)  # fmt: skip
def test_a_wrong_graph_says_what_is_wrong(graph, says):
    with pytest.raises(PromptError, match=says):
        SemanticGraph.from_json(graph)


@pytest.mark.parametrize("span", [(-3, 5), (2, 6), (5, 2), (2, 2), (0, 3)])
def test_a_wrong_span_names_word_span_and_prompt(span):
    with pytest.raises(PromptError) as caught:
        SemanticGraph("a cat", (Entity("cat", span),))
    for part in ("'cat'", str(span), "'a cat'"):
        assert part in str(caught.value)
    with pytest.raises(PromptError):
        SemanticGraph("a cat", (Entity("a", (0, 1), (Attribute("cat", span),)),))


def test_prompt_errors_are_value_errors():
    assert issubclass(PromptError, DyMOError)
    assert issubclass(PromptError, ValueError)


def family() -> SemanticGraph:
    """A woman in a jacket with sleeves, a dog with a tail, and "the woman" once more."""
    prompt = "a woman in a jacket with sleeves, a dog with a tail, the lady"
    parts = [("woman", None, None), ("jacket", 0, None), ("sleeves", 1, None), ("dog", None, None), ("tail", 3, None)]
    spans = {text: (prompt.index(text), prompt.index(text) + len(text)) for text in prompt.split() if len(text) > 3}
    spans |= {"dog": (36, 39)}
    spans = {text.strip(","): (start, start + len(text.strip(","))) for text, (start, _) in spans.items()}
    entities = [Entity(text, spans[text], (), part_of, same) for text, part_of, same in [*parts, ("lady", None, 0)]]
    return SemanticGraph(prompt, tuple(entities))


def test_w7_wholes_and_their_parts_are_opposed_on_request_only():
    graph = family()
    apart, all_apart = set(graph.opposed()), set(graph.opposed(wholes_and_parts=True))
    # woman-jacket, woman-sleeves, jacket-sleeves, dog-tail; and the lady, who is the woman, against jacket and sleeves.
    assert all_apart - apart == {(0, 1), (0, 2), (1, 2), (3, 4), (1, 5), (2, 5)}
    assert apart == {(0, 3), (0, 4), (1, 3), (1, 4), (2, 3), (2, 4), (3, 5), (4, 5)}


def test_one_thing_named_twice_is_not_opposed_to_itself():
    assert (0, 5) not in set(family().opposed(wholes_and_parts=True))
    cat = Entity("cat", (2, 5))
    assert not list(SemanticGraph("a cat", (cat, cat)).opposed(wholes_and_parts=True))
    assert list(SemanticGraph("cat cat", (Entity("cat", (0, 3)), Entity("cat", (4, 7)))).opposed()) == [(0, 1)]


def test_parts_and_names_of_one_thing_survive_json():
    graph = family()
    assert SemanticGraph.from_json(graph.to_json()) == graph
    written = {"prompt": "a man, his hat", "entities": [{"text": "man"}, {"text": "hat", "part_of": 0}]}
    assert list(SemanticGraph.from_json(written).opposed()) == []


@pytest.mark.parametrize("field", ["part_of", "same_as"])
@pytest.mark.parametrize("place", [0, 2, -1, "x"])
def test_a_part_of_itself_or_of_nothing_is_refused(field, place):
    entities = [{"text": "cat", field: place}, {"text": "hat", "part_of": 0}]
    with pytest.raises(PromptError, match=field):
        SemanticGraph.from_json({"prompt": "a cat in a hat", "entities": entities})


def test_relations_need_two_entities_that_are_there():
    cat = Entity("cat", (2, 5))
    for ends in ((0, 0), (0, 1), (-1, 0)):
        with pytest.raises(PromptError, match="two different places"):
            SemanticGraph("a cat", (cat,), (), (Relation("a", (0, 1), *ends),))


@pytest.mark.parametrize(
    "word, numeral",
    [("two", True), ("Two", True), ("twenty-one", True), ("3", True), ("10,000", True), ("dozen", True), ("hundred", True),
     ("19th", False), ("1960s", False), ("three-headed", False), ("black-and-white", False), ("4k", False), ("single", False)],
)  # fmt: skip
def test_numerals_are_told_from_words_with_numbers_in_them(word, numeral):
    graph = SemanticGraph(f"{word} red cats", (Entity("cats", (len(word) + 5, len(word) + 9), (Attribute(word, (0, len(word))),)),))
    assert len(list(graph.bound())) == (not numeral)
    assert [(e.text, a.text) for e, a in graph.bound(numerals=True)] == [("cats", word)]
