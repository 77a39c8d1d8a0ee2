"""What raters are asked: every pair once, checks among them, sides and order of their own; and which run can be asked about."""

import pytest

from dymo.bench.plan import Comparison
from dymo.bench.results import collect
from dymo.bench.store import Store
from dymo.errors import ConfigError
from dymo.study.design import BROKEN, SAME, Design, Trial, is_right, make_design, trials_of


def design_of(run, rows=("dymo", "plain"), **more):
    plan = Comparison.load(run)
    return make_design(plan, collect(plan, Store(run)), rows, "Which?", **more)


def test_a_rater_sees_every_pair_once_and_the_checks(run):
    design = design_of(run)
    trials = trials_of(design, "ann")
    assert sorted(t.pair for t in trials if t.kind == "pair") == list(range(24))
    assert [t.kind for t in trials].count("broken") == BROKEN and [t.kind for t in trials].count("same") == SAME
    assert len({t.mark for t in trials}) == len(trials) == 24 + BROKEN + SAME


def test_order_and_sides_are_a_rater_s_own_and_the_same_at_each_call(run):
    design = design_of(run)
    assert trials_of(design, "ann") == trials_of(design, "ann")
    assert [t.pair for t in trials_of(design, "ann")] != [t.pair for t in trials_of(design, "bob")]
    flipped = [t.flipped for n in range(40) for t in trials_of(design, f"rater {n}") if t.kind == "pair"]
    assert 0.45 < sum(flipped) / len(flipped) < 0.55


def test_a_part_of_the_pairs(run):
    assert sum(t.kind == "pair" for t in trials_of(design_of(run, each=6), "ann")) == 6
    with pytest.raises(ConfigError, match="--pairs 25: give 1 to 24"):
        design_of(run, each=25)


def test_the_design_comes_back_from_its_json(run):
    design = design_of(run)
    assert Design.from_json(design.to_json()) == design


def test_rows_that_cannot_be_compared_are_named(run):
    for rows, said in [
        (("dymo", "plane"), "did you mean 'plain'"),
        (("dymo",), "two or more"),
        (("dymo", "dymo"), "two or more"),
    ]:
        with pytest.raises(ConfigError, match=said):
            design_of(run, rows)


@pytest.mark.parametrize(
    "kind, answer, right",
    [
        ("same", "tie", True),
        ("same", "first", False),
        ("broken", "first", True),
        ("broken", "tie", False),
        ("broken", "second", False),
    ],
)
def test_what_is_right(kind, answer, right):
    assert is_right(Trial("000", kind, 0, False), answer) is right
