"""A Python callable on PIL pictures."""

import numpy as np
import pytest
import torch

from dymo import RewardError, load_reward
from dymo.rewards import BlackBoxReward


def redness(pictures, prompts):
    assert all(picture.mode == "RGB" for picture in pictures)
    return [
        float(np.asarray(picture)[..., 0].mean()) + len(prompt)
        for picture, prompt in zip(pictures, prompts, strict=True)
    ]


def test_it_sees_8_bit_pictures_and_gives_one_number_each():
    images = torch.zeros(2, 3, 4, 6, requires_grad=True)
    with torch.no_grad():
        images[1, 0] = 0.5
    box = load_reward(BlackBoxReward(redness))
    made = box.score(images, ["", "abc"])
    assert made.tolist() == [0.0, 131.0] and not made.requires_grad
    assert (box.name, box.differentiable) == ("redness", False)


def test_what_it_may_not_return():
    with pytest.raises(RewardError, match=r"sloppy returned the shape \(1,\) for 2 pictures"):
        BlackBoxReward(lambda *_: [1.0], "sloppy").score(torch.zeros(2, 3, 4, 4), ["a", "b"])
    with pytest.raises(RewardError, match="2 pictures with 1 prompts"):
        BlackBoxReward(redness).score(torch.zeros(2, 3, 4, 4), ["a"])
