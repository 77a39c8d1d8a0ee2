"""Words where several encoders read the prompt, or a text around it."""

from __future__ import annotations

import pytest
import readers
import tiny

from dymo.errors import PromptError
from dymo.pipelines.families import Encoder
from dymo.prompt import SemanticGraph
from dymo.prompt.encoders import joint_pairs


def graph_of(prompt, things=("apple", "car")):
    entities = [{"text": "apple", "attributes": ["red"]}, {"text": "car", "attributes": ["green"]}]
    return SemanticGraph.from_json({"prompt": prompt, "entities": [e for e in entities if e["text"] in things]})


GRAPH = graph_of(tiny.PROMPT)


def said(encoder, places, text):
    """The tokens at places of what an encoder reads."""
    ids = encoder.tokenizer(text).input_ids
    return encoder.tokenizer.decode([ids[i - encoder.start + encoder.dropped] for i in places]).strip()


def test_a_word_has_places_of_each_encoder_and_pairs_are_of_words():
    clip, t5 = Encoder(tiny.tokenizer(), 0, 48), Encoder(readers.t5_tokenizer(), 48, 40)
    pairs = joint_pairs(GRAPH, [clip, t5])
    assert said(t5, pairs.words["green"][1], tiny.PROMPT) == "green" and min(pairs.words["green"][1]) >= 48
    assert said(clip, pairs.words["car"][0], tiny.PROMPT) == "car"
    assert pairs.positive == tuple((pairs.words[a], pairs.words[b]) for a, b in (("apple", "red"), ("car", "green")))
    assert pairs.negative == ((pairs.words["apple"], pairs.words["car"]),)


def test_a_number_is_paired_with_what_it_counts_only_if_asked():
    prompt = "two red apples"
    graph = SemanticGraph.from_json({"prompt": prompt, "entities": [{"text": "apples", "attributes": ["two", "red"]}]})
    encoders = [Encoder(tiny.tokenizer(), 0, 48), Encoder(readers.t5_tokenizer(), 48, 40)]
    said, counted = (joint_pairs(graph, encoders, numerals=numerals) for numerals in (False, True))
    assert [b for _, b in said.positive] == [said.words["red"]]
    assert [b for _, b in counted.positive] == [said.words["two"], said.words["red"]]


def test_each_piece_is_paired_with_those_of_its_own_encoder():
    clip, t5 = Encoder(tiny.tokenizer(), 0, 48), Encoder(readers.t5_tokenizer(), 48, 40)
    whole, each = (joint_pairs(GRAPH, [clip, t5], pieces=pieces) for pieces in ("mean", "each"))
    (apple, red), _ = whole.positive
    wanted = {((((i,),), ((j,),))) for k in (0, 1) for i in apple[k] for j in red[k]}
    assert set(each.positive) >= wanted
    for (a,), (b,) in each.positive:
        assert (a[0] >= 48) == (b[0] >= 48)


def test_a_word_beyond_one_window_is_still_in_the_other_and_beyond_all_it_is_truncated():
    far = "a lot of other words before it, and then a red apple"
    graph, t5 = graph_of(far, ("apple",)), readers.t5_tokenizer()
    clip = Encoder(tiny.tokenizer(), 0, 48)
    length = len(t5(far).input_ids)
    assert 20 < len(tiny.tokenizer()(far).input_ids) < 48
    short = Encoder(tiny.tokenizer(), 0, 20)
    found = joint_pairs(graph, [short, Encoder(t5, 20, length)])
    assert len(found.words["apple"]) == 1 and min(found.words["apple"][0]) >= 20 and not found.truncated
    # The end token takes the last place of a text that is cut off.
    cut = joint_pairs(graph, [short, Encoder(t5, 20, length - 1)])
    assert cut.truncated == ("apple",) and not cut.positive
    assert joint_pairs(graph, [clip]).words["apple"]


def test_a_text_around_the_prompt_and_what_is_taken_off_again():
    tokenizer = readers.chat_tokenizer(True)
    before, after = "Say a car: ", "\nDone"
    encoder = Encoder(tokenizer, 5, 60, before, after, dropped=3)
    words = joint_pairs(GRAPH, [encoder]).words
    text = before + tiny.PROMPT + after
    for word in ("red", "apple", "green", "car"):
        assert said(encoder, words[word][0], text) == word
    assert len(words["car"][0]) < 4, "the instruction's own car is another"


def test_a_prompt_that_is_read_in_small_letters():
    prompt = "  A Red APPLE and a Green car "
    entities = [{"text": "APPLE", "attributes": ["Red"]}, {"text": "car", "attributes": ["Green"]}]
    graph = SemanticGraph.from_json({"prompt": prompt, "entities": entities})
    encoder = Encoder(readers.t5_tokenizer(), 0, 40, lower=True)
    words = joint_pairs(graph, [encoder]).words
    read = prompt.lower().strip()
    assert {said(encoder, words[w][0], read) for w in ("Red", "APPLE", "Green", "car")} == {"red", "apple", "green", "car"}


def test_an_encoder_of_another_text_has_no_tokens_of_the_graph_s_words():
    clip, t5 = Encoder(tiny.tokenizer(), 0, 48), Encoder(readers.t5_tokenizer(), 48, 40)
    words = joint_pairs(GRAPH, [clip, t5], [None, "a dog"]).words
    assert all(len(places) == 1 and max(places[0]) < 48 for places in words.values())
    with pytest.raises(PromptError, match="no token"):
        joint_pairs(GRAPH, [clip], ["a dog"])
