from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dymo.errors import PromptError
from dymo.prompt import Attribute, Entity, SemanticGraph, token_pairs

PROMPTS = [
    "a red apple and a green car",
    "a  RED \t apple\nand a   Green car ",
    "a red car, a red apple.",
    "un café réd 🎈 car — “ﬁsh”",
    "red's apple-car!",
]


def decoded(indices, prompt, tokenizer) -> str:
    ids = tokenizer(prompt, padding="max_length", truncation=True, max_length=tokenizer.model_max_length)["input_ids"]
    return tokenizer.decode([ids[i] for i in indices]).strip()


def graph_of(prompt: str, *items: tuple[str, list[str]]) -> SemanticGraph:
    return SemanticGraph.from_json(
        {"prompt": prompt, "entities": [{"text": text, "attributes": attributes} for text, attributes in items]}
    )


class WithoutOffsets:
    """A tokenizer as the slow ones are: it keeps no offsets."""

    is_fast = False

    def __init__(self, tokenizer) -> None:
        self.tokenizer = tokenizer

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)

    def __call__(self, prompt, return_offsets_mapping=False, **settings):
        if return_offsets_mapping:
            raise NotImplementedError
        return self.tokenizer(prompt, **settings)


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("wrap", [lambda t: t, WithoutOffsets], ids=["offsets", "decoded"])
def test_pieces_decode_to_the_word(prompt, wrap, tokenizer):
    spans = []
    for part in prompt.split():
        start = prompt.index(part, spans[-1][1] if spans else 0)
        spans.append((start, start + len(part)))
    graph = SemanticGraph(prompt, tuple(Entity(prompt[slice(*s)], s) for s in spans))
    pairs = token_pairs(graph, wrap(tokenizer))
    assert pairs.truncated == ()
    got = [decoded(indices, prompt, tokenizer).replace(" ", "") for indices in pairs.words.values()]
    assert got == [part.lower() for part in prompt.split()]


def test_pairs_are_attributes_and_other_things(tokenizer):
    prompt = "a Red apple and a green CAR"
    pairs = token_pairs(graph_of(prompt, ("apple", ["red"]), ("car", ["green"])), tokenizer)
    texts = [tuple(decoded(i, prompt, tokenizer) for i in pair) for pair in pairs.positive]
    assert texts == [("apple", "red"), ("car", "green")]
    assert [tuple(decoded(i, prompt, tokenizer) for i in pair) for pair in pairs.negative] == [("apple", "car")]
    # "apple" is app + le here: a word of several pieces.
    assert len(pairs.words["apple"]) == 2


def test_a_number_is_drawn_with_what_it_counts_only_if_asked(tokenizer):
    prompt = "two red apples"
    graph = graph_of(prompt, ("apples", ["two", "red"]))
    said, counted = token_pairs(graph, tokenizer), token_pairs(graph, tokenizer, numerals=True)
    assert [decoded(b, prompt, tokenizer) for _, b in said.positive] == ["red"]
    assert [decoded(b, prompt, tokenizer) for _, b in counted.positive] == ["two", "red"]
    assert said.words == counted.words and "two" in said.words


def test_repeated_words_keep_their_own_places(tokenizer):
    prompt = "a red car and a red apple and a car"
    graph = graph_of(prompt, ("car", ["red"]), ("apple", ["red"]), ("car", []))
    pairs = token_pairs(graph, tokenizer)
    (car, red), (apple, other_red) = pairs.positive
    assert max(red) < min(car) < min(other_red) <= max(other_red) < min(apple)
    assert pairs.words["red"] == red
    assert pairs.words["red #2"] == other_red
    assert len(pairs.negative) == 3
    assert all(not set(a) & set(b) for a, b in pairs.negative)


@given(st.lists(st.sampled_from(["red", "apple", "CAR", "grün", "日本", "x"]), min_size=1, max_size=30), st.data())
@settings(max_examples=60)
def test_words_are_found_whole_or_reported(tokenizer, words, data):
    gaps = data.draw(st.lists(st.sampled_from([" ", "  ", " \n"]), min_size=len(words), max_size=len(words)))
    prompt, spans = "", []
    for word, gap in zip(words, gaps, strict=True):
        spans.append((len(prompt), len(prompt) + len(word)))
        prompt += word + gap
    entities = tuple(Entity(prompt[slice(*s)], s) for s in spans)
    pairs = token_pairs(SemanticGraph(prompt, entities), tokenizer)
    assert len(pairs.words) + len(pairs.truncated) == len(words)
    inside = list(pairs.words.values())
    assert [decoded(i, prompt, tokenizer) for i in inside] == [word.lower() for word in words[: len(inside)]]
    assert set(pairs.negative) == set(combinations(inside, 2))
    assert all(0 < i < tokenizer.model_max_length - 1 for indices in inside for i in indices)
    # Both ways of finding the places agree.
    assert token_pairs(SemanticGraph(prompt, entities), WithoutOffsets(tokenizer)) == pairs


def test_words_beyond_the_window_are_left_out_and_reported(short_tokenizer):
    # Start, a, red, app, le, and in three pieces, a: nine of twelve; "banana" is cut within.
    graph = graph_of("a red apple and a banana car", ("apple", ["red"]), ("banana", []), ("car", ["red"]))
    pairs = token_pairs(graph, short_tokenizer)
    assert pairs.truncated == ("banana", "car")
    assert set(pairs.words) == {"apple", "red"}
    assert len(pairs.positive) == 1
    assert pairs.negative == ()


def test_an_attribute_beyond_the_window_leaves_its_entity(short_tokenizer):
    graph = graph_of("a car and a apple that is yellow", ("car", ["yellow"]))
    pairs = token_pairs(graph, short_tokenizer)
    assert (pairs.positive, pairs.truncated, set(pairs.words)) == ((), ("yellow",), {"car"})


def test_rewritten_letters_do_not_lose_the_words_after_them(tokenizer):
    class Rewriting(WithoutOffsets):
        def __call__(self, prompt, **settings):
            return self.tokenizer(prompt.replace("’", "'"), **settings)

    prompt = "the cat’s red car"
    graph = graph_of(prompt, ("car", ["red"]))
    assert token_pairs(graph, Rewriting(tokenizer)) == token_pairs(
        graph_of(prompt.replace("’", "'"), ("car", ["red"])), tokenizer
    )


def test_a_word_that_no_token_holds_is_an_error(tokenizer):
    with pytest.raises(PromptError, match="no token"):
        token_pairs(SemanticGraph("a \n car", (Entity(" \n", (1, 3), (Attribute("car", (4, 7)),)),)), tokenizer)
