"""The benchmark of parsers: what counts as right."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dymo.errors import ConfigError
from tools.graphs import Reading, counts, f1, figures, read_truth


def test_words_before_a_head_are_its_attributes_and_case_does_not_count():
    assert Reading.of([("Tea Party", ["Fancy"])]) == Reading.of([("party", ["tea", "fancy"])])
    assert Reading.of([("cat", ["red"]), ("cat", ["old"])]) == Reading.of([("cat", ["old", "red"])])


def test_a_part_of_a_word_and_another_form_do_not_count():
    true = Reading.of([("potatoes", ["red"])])
    for found in ("potato", "potatoe", "toes"):
        assert counts("entities", [Reading.of([(found, ["red"])])], [true]).tolist() == [[0, 1, 1]]
        assert counts("pairs", [Reading.of([(found, ["red"])])], [true]).tolist() == [[0, 1, 1]]


def test_precision_recall_and_f1_by_hand():
    precision, recall, both = f1(np.array([3, 4, 6]))
    assert (precision, recall) == (0.75, 0.5) and both == pytest.approx(0.6)
    assert [float(x) for x in f1(np.array([0, 0, 0]))] == [0, 0, 0]


def test_a_perfect_reading_has_no_width():
    assert figures(np.array([[1, 1, 1], [2, 2, 2]]), seed=0) == ["1.000 [1.000, 1.000]"] * 3


def test_a_file_is_read_as_it_is_written(tmp_path):
    file = tmp_path / "graphs.jsonl"
    row = {"prompt": "a cat eats potatoes", "knowledge": [{"cat": ["Red"]}, {"potato": []}], "global": []}
    file.write_text(json.dumps(row) + "\n\n")
    ((prompt, truth),) = read_truth(file)
    assert prompt == row["prompt"]
    assert truth == Reading(frozenset({"cat", "potato"}), frozenset({("cat", "red")}))
    for wrong in ("", "{}", "[]", '{"prompt": "a", "knowledge": 3}', "nonsense"):
        file.write_text(wrong)
        with pytest.raises(ConfigError, match=r"graphs\.jsonl"):
            read_truth(file)
