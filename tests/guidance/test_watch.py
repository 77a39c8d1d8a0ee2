"""When the alarm rings: the guide up and the watched rewards down, by more than a unit each, since these stood highest."""

import pytest
import torch

from dymo import RewardError
from dymo.guidance.watch import Watch


def watch(**changes):
    return Watch({"a": lambda images, samples, t: images.mean((1, 2, 3))}, {"a": 1.0}, **changes)


def first_alarm(series, **changes):
    """Index of the step at which sample 0 rings in a series of (guide, watched), or None."""
    one = watch(**changes)
    rang = [i for i, (guide, watched) in enumerate(series) if one.contradicts(0, i, guide, watched)]
    assert len(rang) <= 1 and list(one.flagged.values()) == rang
    return rang[0] if rang else None


@pytest.mark.parametrize(
    "series, step",
    [
        ([(0, 0), (1, 1), (5, 3), (9, 4)], None),  # both rise
        ([(0, 0), (2, -0.5), (4, -0.9)], None),  # the fall is less than a unit
        ([(0, 0), (0.5, -3), (0.9, -5)], None),  # the guide has hardly risen
        ([(0, 0), (-2, -3), (-4, -5)], None),  # both fall
        ([(0, 0), (2, -2)], 1),
        ([(0, 0), (2, 3), (2.5, 1.5), (3.5, 1.5), (9, -9)], 3),  # from where the watched stood highest
        ([(0, 0), (2, -2), (3, 5), (9, -9)], 1),  # once
    ],
)
def test_the_alarm(series, step):
    assert first_alarm(series) == step


def test_units_are_the_rewards_own():
    series = [(0.0, 0.0), (0.5, -2.0)]
    assert first_alarm(series) is None
    assert first_alarm(series, guide_scale=0.1) == 1
    assert first_alarm(series, tolerance=0.4) == 1
    one = Watch({}, {"a": 2.0, "b": 0.1})
    assert one.mean({"a": [4.0, 0.0], "b": [0.3, -0.1]}) == pytest.approx([2.5, -0.5])


def test_samples_do_not_mix():
    one = watch()
    for sample in (0, 1):
        one.contradicts(sample, 0, 0.0, 0.0)
    assert not one.contradicts(1, 1, 0.0, 0.0) and one.contradicts(0, 1, 5.0, -5.0) and set(one.flagged) == {0}


def test_nothing_is_differentiated_and_bad_scores_are_refused():
    images = torch.rand(2, 3, 4, 4, requires_grad=True)
    seen = []
    one = Watch({"a": lambda i, s, t: (seen.append((torch.is_grad_enabled(), s, t)), i.mean((1, 2, 3)))[1]}, {"a": 1.0})
    assert one.score(images, [0, 3], 500.0)["a"] == pytest.approx(images.detach().mean((1, 2, 3)).tolist())
    assert seen == [(False, [0, 3], 500.0)]
    for bad in (torch.tensor([1.0]), torch.tensor([1.0, float("nan")])):
        with pytest.raises(RewardError, match="the watched reward 'a' returned"):
            Watch({"a": lambda *_, bad=bad: bad}, {"a": 1.0}).score(images, [0, 1], None)
