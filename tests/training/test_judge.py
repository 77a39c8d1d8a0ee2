"""The judge's verdicts (S4: it read no places and no counts), and what it reads from real scenes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dymo.miniature import load_judge
from dymo.miniature.judge import CELLS, COLOUR_NAMES, Judge, Seen, _objects, satisfied
from dymo.miniature.world import NOUNS, Caption, Thing, caption_of
from training.judge import cells, centres, wrongs

SCENES = Path(__file__).with_name("scenes.png")
"""24 real scenes of 128 pixels, eight a row; their captions beside them."""

APPLE, CAR, KEY = Seen("apple", "red", (0.2, 0.5)), Seen("car", "green", (0.8, 0.5)), Seen("key", "blue", (0.7, 0.6))


def verdict(text, *seen):
    return satisfied(caption_of(text), seen)


def test_s4_a_thing_on_the_wrong_side_is_not_correct():
    assert verdict("a red apple to the left of a green car", APPLE, CAR).correct
    wrong = verdict("a red apple to the right of a green car", APPLE, CAR)
    assert wrong.objects and wrong.colours and wrong.counts and wrong.relation is False and not wrong.correct
    assert not verdict("a red apple above a green car", APPLE, CAR).correct
    assert verdict("a red apple next to a green car", CAR, APPLE).correct
    assert verdict("a red apple and a green car", APPLE, CAR).relation is None


def test_a_relation_holds_for_all_that_it_names():
    text = "a red apple to the left of a green car and a blue key"
    assert verdict(text, APPLE, CAR, KEY).correct
    assert not verdict(text, APPLE, CAR, replace(KEY, centre=(0.1, 0.9))).correct
    assert not verdict("two red apples above a green car", replace(APPLE, centre=(0.5, 0.1)), APPLE, CAR).correct


def test_counts_are_exact():
    twin = replace(APPLE, centre=(0.5, 0.9))
    assert verdict("two red apples", APPLE, twin).correct
    assert not verdict("two red apples", APPLE).objects and not verdict("three red apples", APPLE, twin).correct
    one = verdict("a red apple", APPLE, twin)
    assert one.objects and not one.counts and not one.correct
    assert not verdict("two red apples", APPLE, replace(twin, colour="blue")).colours


def test_exchanged_colours_are_not_correct_and_other_nouns_are_not_held_against():
    assert not verdict("a green apple and a red car", APPLE, CAR).correct
    assert verdict("a red apple", APPLE, CAR, KEY).correct
    assert not verdict("a red apple and a green car", APPLE).correct


def test_the_recipes_wrong_captions_contradict_the_scene():
    for text in ("a red apple to the left of a green car", "two red apples and a green car", "three red apples"):
        caption = caption_of(text)
        spots = [(0.1 + 0.3 * i, 0.5 + 0.05 * i) for i in range(3)]
        seen = [
            Seen(caption.things[k].noun, caption.things[k].colour, spots[i]) for i, k in enumerate(caption.instances)
        ]
        assert satisfied(caption, seen).correct
        assert wrongs(caption)
        assert not any(satisfied(wrong, seen).correct for wrong in wrongs(caption).values())


def test_peaks_become_objects_with_their_colours_and_places():
    heat, colours = torch.zeros(len(NOUNS), CELLS, CELLS), torch.zeros(len(COLOUR_NAMES) + 1, CELLS, CELLS)
    colours[-1] = 1
    for noun, colour, y, x in ((3, 1, 4, 2), (3, 1, 4, 9), (7, 0, 12, 12)):
        heat[noun, y, x], heat[noun, y, x + 1] = 0.9, 0.6
        colours[:, y, x], colours[colour, y, x] = 0, 1
    heat[5, 4, 4] = 0.7  # a weaker noun of the same object
    found = _objects(heat, colours)
    assert sorted((s.noun, s.colour) for s in found) == sorted([(NOUNS[3], "orange")] * 2 + [(NOUNS[7], "red")])
    last = next(s for s in found if s.noun == NOUNS[7])
    assert last.centre == pytest.approx((12.9 / 16, 12.5 / 16)) and last.confidence == pytest.approx(0.9)
    assert _objects(0.4 * heat, colours) == []


def test_labels_put_the_centre_where_the_mass_is_and_cells_sum_to_one():
    masks = torch.zeros(1, 3, CELLS, CELLS)
    masks[0, 0, 2:5, 6:9], masks[0, 1, 10:14, 1:3] = 1, 0.4
    nouns = torch.tensor([[4, 4, -1]])
    heat = centres(masks, nouns)
    assert heat[0, 4, 3, 7] == 1 and heat[0, 4].ge(0.999).sum() == 2 and heat[0, :4].sum() == 0
    labels = cells(masks, nouns, len(NOUNS))
    torch.testing.assert_close(labels.sum(1), torch.ones(1, CELLS, CELLS))
    assert labels[0, 4, 3, 7] == 1 and labels[0, 4, 11, 1] == pytest.approx(0.8)


@pytest.fixture(scope="module")
def judge():
    return load_judge()


@pytest.fixture(scope="module")
def scenes():
    sheet = torch.from_numpy(np.array(Image.open(SCENES).convert("RGB")))
    images = sheet.unflatten(0, (-1, 128)).unflatten(2, (-1, 128)).permute(0, 2, 4, 1, 3).flatten(0, 1).float() / 255
    texts = json.loads(SCENES.with_suffix(".json").read_text())
    assert len(images) == len(texts) == 24
    return images, [caption_of(text) for text in texts]


def test_it_reads_real_scenes(judge, scenes):
    images, asked = scenes
    seen = judge.read(images)
    assert sum(satisfied(c, s).correct for c, s in zip(asked, seen, strict=True)) >= 23
    refused = [not satisfied(w, s).correct for c, s in zip(asked, seen, strict=True) for w in wrongs(c).values()]
    assert len(refused) >= 24 and all(refused)


def test_it_sees_nothing_where_nothing_is(judge):
    assert judge.read(torch.full((1, 3, 128, 128), 0.6)) == [[]]


def test_it_comes_back_as_it_was_saved(judge, tmp_path):
    judge.save_pretrained(tmp_path)
    x = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    for a, b in zip(judge(x), Judge.from_pretrained(tmp_path)(x), strict=True):
        torch.testing.assert_close(a, b)


def test_nothing_is_asked_of_a_caption_without_relation():
    assert satisfied(Caption((Thing("apple", "red"),)), [APPLE]).relation is None
