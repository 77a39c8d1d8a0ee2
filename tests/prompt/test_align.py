from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dymo.prompt import SemanticGraph
from dymo.prompt.align import align, find_spans

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
    claims = [("ball", ("red", "old", "green")), ("car", ("red",)), ("car", ("Two",)), ("zebra", ())]
    placed, missing = align(
        PROMPT, claims, [("ball", "beside", "car"), ("car", "eats", "ball"), ("ball", "of", "ball")]
    )
    graph = SemanticGraph.placed(placed)
    assert [(e.text, [a.text for a in e.attributes]) for e in graph.entities] == [
        ("ball", ["old", "red"]),
        ("car", ["Two", "red"]),
    ]
    ball_red, car_red = graph.entities[0].attributes[1].span, graph.entities[1].attributes[1].span
    assert ball_red < graph.entities[0].span < car_red
    assert missing == ("green", "zebra", "eats")
    assert [(r.text, r.subject, r.object) for r in graph.relations] == [("beside", 0, 1)]


@given(
    st.text(alphabet="ab c-,A", max_size=30),
    st.lists(
        st.tuples(st.text(alphabet="abcA -", max_size=5), st.lists(st.text(alphabet="abcA", max_size=3), max_size=3)),
        max_size=5,
    ),
)
@settings(max_examples=150)
def test_any_claims_give_a_sound_graph(prompt, claims):
    placed, missing = align(prompt, claims)
    # Building a SemanticGraph checks every span; reading it back checks the places.
    graph = SemanticGraph.placed(placed)
    assert SemanticGraph.from_json(graph.to_json()) == graph
    spans = [entity.span for entity in graph.entities]
    assert all(a[1] <= b[0] or b[1] <= a[0] for i, a in enumerate(spans) for b in spans[:i])
    for word in missing:
        assert not find_spans(prompt, word)
