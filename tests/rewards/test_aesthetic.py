"""The aesthetic predictor: an affine map of the unit embedding."""

import os
from pathlib import Path

import pytest
import torch
from tiny_rewards import clip, gradient_is_right, lively
from transformers import CLIPVisionModelWithProjection

from dymo import RewardError, load_reward
from dymo.rewards import SPECS
from dymo.rewards.aesthetic import AestheticReward, head_from_state
from dymo.rewards.checkpoint import read_weights
from dymo.rewards.head import HIDDEN, AffineHead, hidden_of
from dymo.rewards.preprocess import normalise, shortest_side_crop

FILE = SPECS["aesthetic"].file
LAYERS = {0: (1024, 768), 2: (128, 1024), 4: (64, 128), 6: (16, 64), 7: (1, 16)}


def head_state(seed=0):
    draw = torch.Generator().manual_seed(seed)
    state = {}
    for i, shape in LAYERS.items():
        state[f"layers.{i}.weight"] = 0.1 * torch.randn(shape, generator=draw)
        state[f"layers.{i}.bias"] = 0.1 * torch.randn(shape[0], generator=draw)
    return state


def collapsed(head):
    """w (width,) and b () of the same map x -> w x + b, in float64."""
    weight, bias = torch.eye(768, dtype=torch.float64), torch.zeros(768, dtype=torch.float64)
    for i in LAYERS:
        own = head.layers[i].weight.double()
        weight, bias = own @ weight, own @ bias + head.layers[i].bias.double()
    return weight[0], bias[0]


def equals_its_affine_map(head):
    units = torch.nn.functional.normalize(torch.randn(50, 768, generator=torch.Generator().manual_seed(1)), dim=-1)
    weight, bias = collapsed(head)
    made, expected = head(units).double(), units.double() @ weight + bias
    assert made.shape == (50,) and expected.std() > 0
    torch.testing.assert_close(made, expected, atol=1e-4, rtol=0)


def test_the_head_is_its_collapsed_affine_map():
    equals_its_affine_map(head_from_state(head_state(), "aesthetic"))


@pytest.mark.skipif("DYMO_AESTHETIC_HEAD" not in os.environ, reason=f"DYMO_AESTHETIC_HEAD is not the path of {FILE}")
def test_the_real_head_is_its_collapsed_affine_map():
    head = head_from_state(read_weights(Path(os.environ["DYMO_AESTHETIC_HEAD"])), "aesthetic")
    equals_its_affine_map(head)


def test_the_layout():
    state = head_state()
    assert hidden_of(state) == HIDDEN
    with pytest.raises(RewardError, match="1 missing: layers.7.bias"):
        head_from_state({k: v for k, v in state.items() if k != "layers.7.bias"}, "aesthetic")
    with pytest.raises(RewardError, match="1 unexpected: layers.8.bias"):
        head_from_state({**state, "layers.8.bias": torch.ones(1)}, "aesthetic")
    with pytest.raises(RewardError, match=r"layers.6.weight \(64, 16\), expected \(16, 64\)"):
        head_from_state({**state, "layers.6.weight": torch.ones(64, 16)}, "aesthetic")
    with pytest.raises(RewardError, match="the file lacks the prefix 'layers.'"):
        head_from_state({k.removeprefix("layers."): v for k, v in state.items()}, "aesthetic")


def reward(**vision):
    """On the image tower of a small CLIP."""
    whole = lively(clip(**vision))
    tower = CLIPVisionModelWithProjection(whole.vision_model.config)
    own = tower.state_dict()
    tower.load_state_dict({name: value for name, value in whole.state_dict().items() if name in own})
    torch.manual_seed(3)
    return AestheticReward(tower, AffineHead(tower.config.projection_dim, (10, 8, 6, 4)), "small"), whole


def test_the_score_is_the_head_of_clip_s_unit_embedding():
    small, whole = reward()
    images = torch.rand(3, 3, 20, 31)
    with torch.no_grad():
        pixels = normalise(shortest_side_crop(images, 16, "round"), small.mean, small.std)
        embedding = whole.get_image_features(pixels).pooler_output
        expected = small.head.layers(embedding / embedding.norm(dim=-1, keepdim=True))[:, 0]
        made = small.score(images, ["a", "b", "c"])
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(made, small.score(images, ["", "x", "y"]))


@pytest.mark.parametrize("size", [(11, 11), (9, 13)])
def test_gradients(size):
    small, _ = reward(image_size=8, patch_size=4)
    small.model.double()
    assert gradient_is_right(lambda images: small.score(images, [""]), size)


def test_a_saved_folder_is_loaded_by_name(tmp_path):
    small, _ = reward()
    small.save_pretrained(tmp_path)
    again = load_reward("aesthetic", source=tmp_path)
    images = torch.rand(2, 3, 20, 24)
    torch.testing.assert_close(again.score(images, ["", ""]), small.score(images, ["", ""]))


def test_a_whole_clip_serves_as_its_tower(tmp_path):
    small, whole = reward()
    whole.save_pretrained(tmp_path)
    torch.save(small.head.state_dict(), tmp_path / FILE)
    images = torch.rand(2, 3, 16, 16)
    again = load_reward("aesthetic", source=tmp_path)
    torch.testing.assert_close(again.score(images, ["", ""]), small.score(images, ["", ""]))
    exact = load_reward("aesthetic", source=tmp_path, dtype=torch.float64)  # R1
    assert {p.dtype for p in exact.model.parameters()} == {torch.float64}
    assert exact.score(images, ["", ""]).dtype == torch.float64
    half = load_reward("aesthetic", source=tmp_path, dtype=torch.bfloat16)
    assert (half.dtype, half.head.layers[0].weight.dtype) == (torch.bfloat16, torch.float32)
