from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dymo.errors import DyMOError, PromptError
from dymo.prompt import Attribute, Entity, SemanticGraph

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
@settings(max_examples=60, deadline=None)
def test_json_round_trip(graph):
    assert SemanticGraph.from_json(graph.to_json()) == graph
    assert SemanticGraph.from_json(json.loads(graph.to_json())) == graph


@given(st.lists(st.sampled_from(["cat", "dog", "Cat"]), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
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
        ("[]", "object"),
        (3, "object"),
        ({}, "prompt"),
        ({"prompt": 3}, "string"),
        ({"prompt": "a cat", "entities": "cat"}, "list"),
        ({"prompt": "a cat", "entities": ["cat"]}, "object"),
        ({"prompt": "a cat", "entities": [{"text": 3}]}, "text"),
        ({"prompt": "a cat", "entities": [{"text": " "}]}, "text"),
        ({"prompt": "a cat", "entities": [{"text": "cat", "span": [2]}]}, "whole numbers"),
        ({"prompt": "a cat", "entities": [{"text": "cat", "span": [False, True]}]}, "whole numbers"),
        ({"prompt": "a cat", "entities": [{"text": "cat", "attribute": ["a"]}]}, "unknown"),
        ({"prompt": "a cat", "entities": [{"text": "cat", "attributes": [3]}]}, "object"),
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
