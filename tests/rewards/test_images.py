"""What a reward is given: images in their range, on its device."""

import contextvars
from contextlib import contextmanager

import pytest
import tiny
import torch
from tiny_rewards import clip
from torch import nn

from dymo import RewardError, load_reward
from dymo.rewards import BlackBoxReward, placed
from dymo.rewards.base import device_of
from dymo.rewards.clip import CLIPReward


@pytest.fixture(scope="module")
def reward():
    return CLIPReward(clip(), tiny.tokenizer(), "small")


@pytest.mark.parametrize(
    "images, said",
    [
        (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), r"torch.uint8, not floating.*images.float\(\) / 255"),
        (torch.full((2, 3, 16, 16), 255.0), r"lie in 255 to 255, not in \[0, 1\]; give images / 255"),
        (torch.linspace(-1, 1, 2 * 3 * 256).view(2, 3, 16, 16), r"lie in -1 to 1, .*give \(images \+ 1\) / 2"),
        (torch.linspace(0, 1.2, 2 * 3 * 256).view(2, 3, 16, 16), r"0 to 1.2, .*images.clamp\(0, 1\)"),
        (torch.zeros(2, 1, 16, 16), r"shape \(2, 1, 16, 16\), .*images.repeat\(1, 3, 1, 1\)"),
        (torch.zeros(2, 4, 16, 16), r"images\[:, :3\]"),
        (torch.zeros(2, 16, 16, 3), "channels before height and width"),
        (torch.zeros(3, 16, 16), r"images\[None\]"),
        (torch.zeros(0, 3, 16, 16), "holds no image"),
        ([1, 2], r"images are a list; give a tensor \(B, 3, H, W\)"),
    ],
)
def test_r1_images_that_are_none_are_refused_with_the_remedy(reward, images, said):
    for one in (reward, BlackBoxReward(lambda images, prompts: [1.0] * len(prompts), "small")):
        with pytest.raises(RewardError, match=f"small: .*{said}"):
            one.score(images, ["a"] * len(images))


def test_a_text_is_no_list_of_prompts(reward):
    with pytest.raises(RewardError, match="2 images with the text 'ab'; give a list"):
        reward.score(torch.rand(2, 3, 16, 16), "ab")


def test_half_precision_a_nan_and_what_resizing_adds_are_taken(reward):
    images = torch.rand(1, 3, 16, 16)
    assert reward.score(images.half(), ["a"]).item() == pytest.approx(reward.score(images, ["a"]).item(), abs=1e-2)
    images[0, 0, 0, 0] = 1.005
    assert reward.score(images, ["a"]).isfinite().all()
    images[0, 0, 0, 0] = torch.nan
    assert reward.score(images, ["a"]).isnan().all()


class Somewhere:
    """A reward that notes where it is moved."""

    name, resolution, reads_timestep, cosine_scale = "somewhere", None, False, None

    def __init__(self, device="cpu"):
        self.device, self.seen = torch.device(device), []

    def score(self, images, prompts, timestep=None):
        return images.mean((1, 2, 3))

    def to(self, device):
        self.device = torch.device(device)
        self.seen.append(self.device.type)


def test_p13_rewards_are_back_where_they_were_also_after_an_exception():
    here, there, module = Somewhere(), Somewhere("meta"), nn.Linear(1, 1)
    module.forward = lambda images, prompts: images.mean((1, 2, 3))
    rewards = [load_reward({here: 1.0, load_reward(module): 1.0}), there]
    with pytest.raises(KeyboardInterrupt), placed(rewards, "meta"):
        assert here.device.type == there.device.type == module.weight.device.type == "meta"
        module.to_empty(device="cpu")  # torch cannot copy out of meta
        raise KeyboardInterrupt
    assert (here.seen, there.seen[-1]) == (["meta", "cpu"], "meta")
    assert device_of(load_reward(module)) == torch.device("cpu")


def test_a_reward_that_runs_of_two_threads_share_goes_back_at_the_end_of_the_last():
    shared = Somewhere()
    (first, one), (second, two) = ((contextvars.copy_context(), placed([shared], "meta")) for _ in range(2))
    first.run(one.__enter__)
    second.run(two.__enter__)
    with pytest.raises(RewardError, match="somewhere is on meta for another run, and cannot be on cpu too: give each run a reward of its own"):
        with placed([shared], "cpu"):
            pass
    first.run(one.__exit__, None, None, None)
    assert shared.device.type == "meta"
    second.run(two.__exit__, None, None, None)
    assert shared.device.type == "cpu"


def test_a_reward_s_own_at_work_may_take_no_argument():
    class Own(Somewhere):
        @contextmanager
        def at_work(self):
            self.seen.append("begins")
            yield
            self.seen.append("ends")

    own = Own()
    with placed([own], "cpu", compiled=True):
        assert own.seen == ["cpu", "begins"]
    assert own.seen == ["cpu", "begins", "ends", "cpu"]


def test_p16_within_a_run_the_images_are_not_read_back(reward):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count += function is torch.ops.aten._local_scalar_dense.default
            return function(*args, **(kwargs or {}))

    images = torch.rand(2, 3, 16, 16)
    with placed([reward], "cpu"):
        reward.score(images, ["a", "b"])
        with Reads() as within:
            reward.score(images, ["a", "b"])
    with pytest.raises(RewardError, match="not in"):  # and looked at again afterwards
        reward.score(images * 255, ["a", "b"])
    assert within.count == 0


def test_device_none_leaves_an_object_where_it_is():
    assert load_reward(Somewhere("meta")).device.type == "meta"
    assert load_reward(Somewhere("meta"), device="cpu").device.type == "cpu"
