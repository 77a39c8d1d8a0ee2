import pytest

from dymo.miniature.world import (
    ALL_THINGS,
    COLOURS,
    NOUNS,
    RELATIONS,
    TRAINED_THINGS,
    Caption,
    Thing,
    captions,
    held_out,
    split_of,
)


def test_the_world_is_as_large_as_promised():
    assert len(NOUNS) >= 12 and len(COLOURS) >= 8 and len(RELATIONS) == 5


def test_each_noun_has_a_colour_that_training_never_shows():
    assert len(ALL_THINGS) - len(TRAINED_THINGS) == len(NOUNS)
    for noun in NOUNS:
        assert sum(held_out(noun, colour) for colour in COLOURS) == 1


def test_splits_share_no_pair_of_things_in_either_order():
    seen = {split: {frozenset(c.things) for c in captions(split, 200)} for split in ("train", "tune", "test")}
    assert not seen["train"] & seen["tune"] | seen["train"] & seen["test"] | seen["tune"] & seen["test"]
    a, b = Thing("cat", "red"), Thing("car", "blue")
    assert split_of(Caption((a, b))) == split_of(Caption((b, a), "above"))


def test_captions_are_seeded_distinct_and_say_what_they_mean():
    first = captions("test", 64)
    assert first == captions("test", 64) and len(set(first)) == 64
    for caption in first:
        assert all(thing.noun in caption.text and thing.colour in caption.text for thing in caption.things)
    assert any(held_out(t.noun, t.colour) for c in first for t in c.things)
    assert Caption((Thing("apple", "orange"), Thing("car", "red")), "above").text == "an orange apple above a red car"


def test_more_than_there_are_is_refused():
    with pytest.raises(ValueError, match="has 3"):
        captions("tune", 10_000)
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        captions("dev", 1)
