import itertools
import random

import pytest

from dymo.miniature.world import (
    ALL_THINGS,
    ASKED,
    COLOURS,
    MOST,
    NOUNS,
    RELATIONS,
    TRAINED_THINGS,
    WORDS,
    Caption,
    Thing,
    caption_of,
    captions,
    held_out,
    in_turns,
    sample_caption,
    split_of,
)
from training.scenes import training_caption


def pairs(caption):
    each = [(caption.things[i].noun, caption.things[i].colour) for i in caption.instances]
    return {tuple(sorted(pair)) for pair in itertools.combinations(each, 2)}


def test_the_world_is_as_large_as_promised():
    assert len(NOUNS) >= 20 and len(COLOURS) >= 8 and len(RELATIONS) == 5 and MOST == 3


def test_each_noun_has_a_colour_that_training_never_shows():
    assert len(ALL_THINGS) - len(TRAINED_THINGS) == len(NOUNS)
    for noun in NOUNS:
        assert sum(held_out(noun, colour) for colour in COLOURS) == 1


def test_training_shows_no_pair_of_the_other_splits():
    rng = random.Random(0)
    trained = {pair for _ in range(4000) for pair in pairs(training_caption(rng))}
    for split in ("tune", "test"):
        for caption in captions(split, 100):
            assert not pairs(caption) <= trained
            own = {pair for pair in pairs(caption) if split_of(Caption((Thing(*pair[0]), Thing(*pair[1])))) == split}
            assert own and not own & trained


def test_a_split_does_not_depend_on_order_or_relation_and_counts_make_pairs():
    a, b = Thing("cat", "red"), Thing("car", "blue")
    assert split_of(Caption((a, b))) == split_of(Caption((b, a), "above"))
    assert {split_of(Caption((Thing(n, c, 2),))) for n in NOUNS for c in COLOURS} == {"train", "tune", "test"}
    assert all(split_of(Caption((thing,))) == "train" for thing in ALL_THINGS)


def test_captions_say_what_they_mean():
    apple, car, cats = Thing("apple", "orange"), Thing("car", "red"), Thing("cat", "blue", 2)
    assert Caption((apple, car), "above").text == "an orange apple above a red car"
    assert Caption((apple, car, Thing("key", "white"))).text == "an orange apple, a red car and a white key"
    assert (
        Caption((car, apple, Thing("key", "white")), "below").text == "a red car below an orange apple and a white key"
    )
    assert Caption((cats, car)).text == "two blue cats and a red car" and Caption((cats, car)).instances == [0, 0, 1]
    assert Thing("fish", "black", 3).text == "three black fish"


def test_a_text_gives_its_caption_back_and_has_only_known_words():
    rng = random.Random(1)
    shapes = set()
    for _ in range(1500):
        caption = sample_caption(rng, ALL_THINGS)
        shapes.add(tuple(thing.count for thing in caption.things))
        assert caption_of(caption.text) == caption
        assert set(caption.text.replace(",", "").split()) <= WORDS
        assert len(caption.instances) <= MOST
    assert shapes == {(1,), (2,), (3,), (1, 1), (2, 1), (1, 2), (1, 1, 1)}


def test_captions_of_two_and_of_three_things_take_turns():
    found = in_turns("test", 7, seed=1)
    assert [len(caption.things) for caption in found] == [2, 3, 2, 3, 2, 3, 2]
    assert found[1::2] == captions("test", 3, 1, 3) and found[::2] == captions("test", 4, 1, 2)


@pytest.mark.parametrize("things", [2, 3, None])
def test_captions_are_seeded_distinct_and_the_hard_ones(things):
    found = captions("test", 96, things=things)
    assert found == captions("test", 96, things=things) and found != captions("test", 96, seed=1, things=things)
    assert len({frozenset(c.things) for c in found}) == 96
    assert {len(c.things) for c in found} == ({things} if things else {2, 3})
    shapes = {counts for n, each in ASKED.items() if things in (None, n) for counts in each}
    assert {tuple(thing.count for thing in c.things) for c in found} == shapes
    assert {c.relation for c in found} == set(RELATIONS[:4]) and max(len(c.instances) for c in found) == MOST
    assert all(len({t.colour for t in c.things}) == len(c.things) for c in found)
    assert any(held_out(t.noun, t.colour) for c in found for t in c.things)


def test_more_than_there_are_is_refused():
    with pytest.raises(ValueError, match="at most 2000"):
        captions("tune", 2001)
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        captions("dev", 1)
    with pytest.raises(ValueError, match="choose 2, 3 or None"):
        captions("test", 1, things=4)
