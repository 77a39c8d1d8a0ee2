"""A plain function as a reward: what it must take and return, said before it is used where Python can tell."""

from __future__ import annotations

import functools

import pytest
import tiny
import torch
from torch import nn

from dymo import DyMO, RewardError, load_reward
from dymo.rewards import BlackBoxReward

IMAGES = torch.full((2, 3, 4, 4), 0.5)


class Clock:
    """Remembers the timestep that it was given."""

    seen: float | None = None

    def by_name(self, images, prompts, scale=2.0, *, timestep=None):
        self.seen = timestep
        return scale * images.mean((1, 2, 3))

    def by_place(self, images, prompts, t):
        self.seen = t
        return images.mean((1, 2, 3))


class Brightness(nn.Module):
    def forward(self, images, prompts):
        return images.mean((1, 2, 3))


@pytest.mark.parametrize("name", ["by_name", "by_place"])
def test_the_timestep_is_given_to_who_asks_for_it(name):
    clock = Clock()
    reward = load_reward(getattr(clock, name))
    made = reward.score(IMAGES, ["a", "b"], 300.0)
    assert reward.reads_timestep and clock.seen == 300.0
    assert made.tolist() == ([1.0, 1.0] if name == "by_name" else [0.5, 0.5])


def test_a_third_argument_with_a_default_keeps_it():
    def weighted(images, prompts, weight=3.0):
        return weight * images.mean((1, 2, 3))

    for function in (weighted, functools.partial(weighted, weight=3.0)):
        reward = load_reward(function)
        assert not reward.reads_timestep and reward.score(IMAGES, ["a", "b"], 300.0).tolist() == [1.5, 1.5]


@pytest.mark.parametrize("function", [Brightness(), lambda *given: given[0].mean((1, 2, 3)), tiny.brightness])
def test_what_can_be_called_is_taken(function):
    assert load_reward(function).score(IMAGES, ["a", "b"], 300.0).tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    "function",
    [
        lambda images: images,
        lambda: 0,
        lambda images, prompts, t, more: images,
        lambda images, prompts, *, model: images,
    ],
)
def test_a_function_of_other_arguments_is_refused_at_once(function):
    with pytest.raises(RewardError, match=r"<lambda>\(.*a reward function takes \(images, prompts\).*returns a tensor"):
        DyMO(function)
    if function.__code__.co_argcount != 2:
        with pytest.raises(RewardError, match=r"box\(.*it takes \(images, prompts\)"):
            BlackBoxReward(function, "box")


@pytest.mark.parametrize(
    "returned, said",
    [
        (None, r"None \(NoneType\)"),
        ([0.5, 0.5], r"\[0.5, 0.5\] \(list\)"),
        (torch.ones(3), r"the shape \(3,\)"),
        (torch.ones(()), r"the shape \(\)"),
    ],
)
def test_what_it_returns_is_looked_at(returned, said):
    def sloppy(images, prompts):
        return returned

    for reward in (load_reward(sloppy), load_reward({sloppy: 1.0})):
        with pytest.raises(RewardError, match=rf"sloppy returned {said} for 2 images: it must return a tensor \(2,\)"):
            reward.score(IMAGES, ["a", "b"])


@pytest.mark.parametrize("returned, said", [(None, "NoneType"), (["good", "bad"], "list"), (0.5, r"shape \(\)")])
def test_what_a_black_box_returns_is_looked_at(returned, said):
    with pytest.raises(RewardError, match=rf"box returned .*{said}.* for 2 images: it must return one number an image"):
        BlackBoxReward(lambda images, prompts: returned, "box").score(IMAGES, ["a", "b"])


def test_several_rewards_are_a_dictionary():
    with pytest.raises(RewardError, match=r"no reward: several rewards are a dictionary, as \{'pickscore': 1.0"):
        DyMO(reward=["mini-pickscore", "mini-hps"])
    with pytest.raises(RewardError, match="5 is no reward: choose 'pickscore'"):
        DyMO(reward=5)


def test_a_class_is_no_reward():
    with pytest.raises(RewardError, match=r"Brightness is a class: give one of its objects, as Brightness\(...\)"):
        DyMO(Brightness)


def test_a_misspelt_name_is_told_the_like():
    with pytest.raises(RewardError, match=r"unknown reward 'pikscore' \(did you mean 'pickscore'\?\)"):
        load_reward("pikscore")
