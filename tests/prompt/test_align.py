from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dymo.prompt import SemanticGraph
from dymo.prompt.align import Claim, Link, align, find_spans

PROMPT = "Two old fishermen hold potatoes, a T-shirt and a red ball beside a red car"


def texts(word: str, prompt: str = PROMPT) -> list[str]:
    return [prompt[slice(*span)] for span in find_spans(prompt, word)]


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("fishermen", ["fishermen"]), ("OLD", ["old"]), ("red", ["red", "red"]), ("potato", ["potatoes"]),
        ("tshirt", ["T-shirt"]), ("t shirt", ["T-shirt"]), ("fishermans", ["fishermen"]), ("big ball", ["ball"]),
        ("zebra", []), ("", []), (" ", []), ("cat", []), ("ol", []), ("...", []), ("hol", []),
    ],
)  # fmt: skip
def test_a_word_is_found_where_it_alone_can_be_meant(word, found):
    assert texts(word) == found


def test_what_two_words_are_like_is_ambiguous():
    assert texts("paintin", "painting and paintings") == []


def test_claims_take_their_own_places_and_the_nearest_attributes():
    claims = [Claim("ball", ("red", "old", "green")), Claim("car", ("red",)), Claim("car", ("Two",)), Claim("zebra")]
    found = align(
        PROMPT, claims, [Link("ball", "beside", "car"), Link("car", "eats", "ball"), Link("ball", "of", "ball")]
    )
    graph = found.graph
    assert [(e.text, [a.text for a in e.attributes]) for e in graph.entities] == [
        ("ball", ["old", "red"]),
        ("car", ["Two", "red"]),
    ]
    ball_red, car_red = graph.entities[0].attributes[1].span, graph.entities[1].attributes[1].span
    assert ball_red < graph.entities[0].span < car_red
    assert found.missing == ("green", "zebra", "eats")
    assert [(r.text, r.subject, r.object) for r in graph.relations] == [("beside", 0, 1)]


@given(
    st.text(alphabet="ab c-,A", max_size=30),
    st.lists(
        st.tuples(st.text(alphabet="abcA -", max_size=5), st.lists(st.text(alphabet="abcA", max_size=3), max_size=3)),
        max_size=5,
    ),
)
@settings(max_examples=150, deadline=None)
def test_any_claims_give_a_sound_graph(prompt, claims):
    found = align(prompt, [Claim(text, tuple(attributes)) for text, attributes in claims])
    # Building a SemanticGraph checks every span; reading it back checks the places.
    assert SemanticGraph.from_json(found.graph.to_json()) == found.graph
    spans = [entity.span for entity in found.graph.entities]
    assert all(a[1] <= b[0] or b[1] <= a[0] for i, a in enumerate(spans) for b in spans[:i])
    for word in found.missing:
        assert not find_spans(prompt, word)
