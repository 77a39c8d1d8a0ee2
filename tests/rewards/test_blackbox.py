"""A Python callable on PIL images."""

import numpy as np
import pytest
import torch

from dymo import RewardError, load_reward
from dymo.rewards import BlackBoxReward


def redness(images, prompts):
    assert all(image.mode == "RGB" for image in images)
    return [
        float(np.asarray(image)[..., 0].mean()) + len(prompt) for image, prompt in zip(images, prompts, strict=True)
    ]


def test_it_sees_8_bit_images_and_gives_one_number_each():
    images = torch.zeros(2, 3, 4, 6, requires_grad=True)
    with torch.no_grad():
        images[1, 0] = 0.5
    box = load_reward(BlackBoxReward(redness))
    made = box.score(images, ["", "abc"])
    assert made.tolist() == [0.0, 131.0] and not made.requires_grad
    assert (box.name, box.differentiable) == ("redness", False)


def test_what_it_may_not_return():
    with pytest.raises(RewardError, match=r"sloppy returned the shape \(1,\) for 2 images"):
        BlackBoxReward(lambda *_: [1.0], "sloppy").score(torch.zeros(2, 3, 4, 4), ["a", "b"])
    with pytest.raises(RewardError, match="2 images with 1 prompts"):
        BlackBoxReward(redness).score(torch.zeros(2, 3, 4, 4), ["a"])
