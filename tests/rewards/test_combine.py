"""Several rewards at once, each in its own units."""

import math

import pytest
import tiny
import torch

from dymo import RewardError, load_reward
from dymo.rewards import BlackBoxReward, CombinedReward, FunctionReward


def redness(images, prompts):
    return 30 * images[:, 0].mean((1, 2))


class Scaled(FunctionReward):
    def __init__(self, function, scale):
        super().__init__(function)
        self.scale = scale


def test_it_is_the_weighted_sum_of_scores_over_their_scales():
    images, prompts = torch.rand(4, 3, 8, 8), ["x"] * 4
    made = load_reward({Scaled(tiny.brightness, 0.5): 2.0, Scaled(redness, 30.0): -1.5})
    expected = 2.0 / 0.5 * tiny.brightness(images, prompts) - 1.5 / 30 * redness(images, prompts)
    torch.testing.assert_close(made.score(images, prompts), expected)
    torch.testing.assert_close(made.scores(images, prompts).sum(0), expected)
    assert made.name == "2 brightness + -1.5 redness" and made.scale == math.hypot(2, 1.5)


def test_a_scale_undoes_the_unit_of_a_reward():
    """The same reward in other units, its scale with it, has the same say."""
    images, prompts = torch.rand(2, 3, 8, 8), ["x"] * 2
    small = load_reward({Scaled(tiny.brightness, 0.1): 1.0})
    large = load_reward({Scaled(lambda i, p: 1000 * tiny.brightness(i, p), 100.0): 1.0})
    torch.testing.assert_close(small.score(images, prompts), large.score(images, prompts))


def test_one_that_reads_t_is_told_it():
    timed = load_reward(lambda images, prompts, timestep: images.mean((1, 2, 3)) * (timestep or 0))
    both = load_reward({timed: 1.0, tiny.brightness: 1.0})
    assert both.reads_timestep and not load_reward({tiny.brightness: 1.0}).reads_timestep
    ones = torch.ones(1, 3, 4, 4)
    assert both.score(ones, ["a"], 10.0).item() == 11.0 and both.score(ones, ["a"]).item() == 1.0


@pytest.mark.parametrize("weight", [0, float("nan"), "1", True, None])
def test_weights_that_mean_nothing(weight):
    with pytest.raises(RewardError, match="brightness: its weight is"):
        load_reward({tiny.brightness: weight})


def test_what_cannot_be_combined():
    with pytest.raises(RewardError, match="no reward to combine"):
        load_reward({})
    with pytest.raises(RewardError, match="conflicts='pcgrad': choose 'sum' or 'project'"):
        load_reward({tiny.brightness: 1}, conflicts="pcgrad")
    with pytest.raises(RewardError, match="cannot serve 1 rewards"):
        load_reward({tiny.brightness: 1}, source="somewhere")
    with pytest.raises(RewardError, match="unknown reward 'nothing'"):
        load_reward({"nothing": 1})


def test_with_a_black_box_the_whole_is_one():
    assert CombinedReward([(FunctionReward(tiny.brightness), 1.0)]).differentiable
    box = BlackBoxReward(lambda images, prompts: [0.0] * len(images), "box")
    assert not load_reward({tiny.brightness: 1.0, box: 1.0}).differentiable
