"""The step-aware tower: CLIP where the modulation is the identity, the published arithmetic where it is not."""

import math

import pytest
import tiny
import torch
import torch.nn.functional as F
from tiny_rewards import clip, gradient_is_right, lively, step_aware
from transformers import CLIPModel

from dymo import RewardError, load_reward
from dymo.rewards.checkpoint import shapes
from dymo.rewards.clip import clip_from_state, vit_h_config
from dymo.rewards.step_aware import StepAwareReward, sinusoid, step_aware_from_state

FILE = "sd-v1-5_step-aware_preference_model.bin"


def test_the_sinusoid_is_cosines_then_sines_of_the_raw_t():
    made = sinusoid(torch.tensor([0.0, 981.0]), 256)
    assert made.shape == (2, 256) and made.dtype == torch.float32
    assert made[0, :128].eq(1).all() and made[0, 128:].eq(0).all()
    for i in (0, 1, 64, 127):
        angle = 981 * 10000 ** (-i / 128)
        assert made[1, i].item() == pytest.approx(math.cos(angle), abs=1e-4)
        assert made[1, 128 + i].item() == pytest.approx(math.sin(angle), abs=1e-4)


def test_with_the_identity_it_is_plain_clip_at_every_t():
    timed, plain = step_aware(), clip()
    missing, unexpected = plain.load_state_dict(timed.state_dict(), strict=False)
    assert not missing and all("adaLN" in k or "t_embedder" in k for k in unexpected)
    pixels = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        expected = plain.get_image_features(pixels).pooler_output
        for t in (0.0, 500.0, 999.0):
            made = timed.image_features(pixels, torch.full((3,), t))
            torch.testing.assert_close(made, expected, atol=1e-6, rtol=1e-6)


def by_hand(model, pixels, t):
    """The published arithmetic on the tensors themselves, one image after the other, attention spelt out."""
    w = model.state_dict()
    c = sinusoid(t, 256)
    for i in (0, 2):
        c = F.linear(c if i == 0 else F.silu(c), w[f"t_embedder.mlp.{i}.weight"], w[f"t_embedder.mlp.{i}.bias"])

    def linear(x, name):
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)

    results = []
    for n, image in enumerate(pixels):
        v = "vision_model"
        cells = F.conv2d(image[None], w[f"{v}.embeddings.patch_embedding.weight"], stride=8).flatten(2)[0].T
        x = (
            torch.cat([w[f"{v}.embeddings.class_embedding"][None], cells])
            + w[f"{v}.embeddings.position_embedding.weight"]
        )
        x = norm(x, f"{v}.pre_layrnorm")
        for i in range(2):
            name = f"{v}.encoder.layers.{i}"
            shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = linear(
                F.silu(c[n]), f"{name}.adaLN_modulation.1"
            ).split(16)
            h = norm(x, f"{name}.layer_norm1") * (1 + scale_a) + shift_a
            q, k, u = (linear(h, f"{name}.self_attn.{p}_proj") for p in "qkv")
            heads = []
            for part in (slice(0, 8), slice(8, 16)):
                weights = (q[:, part] @ k[:, part].T / math.sqrt(8)).softmax(-1)
                heads.append(weights @ u[:, part])
            x = x + gate_a * linear(torch.cat(heads, 1), f"{name}.self_attn.out_proj")
            h = norm(x, f"{name}.layer_norm2") * (1 + scale_m) + shift_m
            x = x + gate_m * linear(F.gelu(linear(h, f"{name}.mlp.fc1")), f"{name}.mlp.fc2")
        shift, scale = linear(F.silu(c[n]), f"{v}.adaLN_modulation.1").split(16)
        pooled = norm(x[0], f"{v}.post_layernorm") * (1 + scale) + shift
        results.append(F.linear(pooled, w["visual_projection.weight"]))
    return torch.stack(results)


def test_the_modulation_is_the_published_one():
    torch.manual_seed(4)
    model = lively(step_aware())
    pixels, t = torch.randn(3, 3, 16, 16), torch.tensor([0.0, 400.0, 981.0])
    with torch.no_grad():
        torch.testing.assert_close(model.image_features(pixels, t), by_hand(model, pixels, t), atol=1e-5, rtol=1e-5)


def reward(**vision):
    return StepAwareReward(lively(step_aware(**vision)), tiny.tokenizer(), "small")


def test_the_score_reads_t_and_takes_none_for_a_clean_image():
    small, images = reward(), torch.rand(2, 3, 16, 16)
    clean, early, none = (small.score(images, ["a", "b"], t) for t in (0.0, 900.0, None))
    assert torch.equal(clean, none) and not torch.allclose(clean, early, atol=1e-3)
    assert small.reads_timestep


@pytest.mark.parametrize("size", [(11, 11), (9, 13)])
def test_gradients(size):
    small = reward(image_size=8, patch_size=4)
    small.model.double()
    assert gradient_is_right(lambda images: small.score(images, ["a red car"], 300.0), size)


def full_size():
    """PickScore's names under `model.`, and the modulation's, without content."""
    with torch.device("meta"):
        state = {f"model.{k}": v for k, v in CLIPModel(vit_h_config()).state_dict().items()}
        for i in range(32):
            name = f"model.vision_model.encoder.layers.{i}.adaLN_modulation.1"
            state |= {f"{name}.weight": torch.empty(7680, 1280), f"{name}.bias": torch.empty(7680)}
        name = "model.vision_model.adaLN_modulation.1"
        state |= {f"{name}.weight": torch.empty(2560, 1280), f"{name}.bias": torch.empty(2560)}
        for i, width in ((0, 256), (2, 1280)):
            name = f"model.t_embedder.mlp.{i}"
            state |= {f"{name}.weight": torch.empty(1280, width), f"{name}.bias": torch.empty(1280)}
        state["model.vision_model.embeddings.position_ids"] = torch.empty(1, 257)
        state["model.text_model.embeddings.position_ids"] = torch.empty(1, 77)
    return state


def test_the_full_layout_loads_and_no_other():
    state = full_size()
    model = step_aware_from_state(state, "step-aware-sd15")
    assert len(shapes(model.state_dict())) == len(state) - 2
    gate = "model.vision_model.encoder.layers.31.adaLN_modulation.1.bias"
    with pytest.raises(RewardError, match=f"1 missing: {gate}"):
        step_aware_from_state({k: v for k, v in state.items() if k != gate}, "x")
    with pytest.raises(RewardError, match="1 unexpected: model.head.bias"):
        step_aware_from_state({**state, "model.head.bias": torch.ones(1)}, "x")
    with pytest.raises(RewardError, match=r"1 of another shape: .*bias \(6, 1280\), expected \(7680,\)"):
        step_aware_from_state({**state, gate: torch.empty(6, 1280, device="meta")}, "x")
    with pytest.raises(RewardError, match="the file lacks the prefix 'model.'"):
        step_aware_from_state({k.removeprefix("model."): v for k, v in state.items()}, "x")
    with pytest.raises(RewardError, match=r"64 unexpected|unexpected: t_embedder"):
        clip_from_state({k.removeprefix("model."): v for k, v in state.items()}, "pickscore")


def test_a_saved_folder_is_loaded_by_name(tmp_path):
    small = reward()
    small.model.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    again = load_reward("step-aware-sd15", source=tmp_path)
    images = torch.rand(2, 3, 20, 24)
    torch.testing.assert_close(again.score(images, ["a", "b"], 700.0), small.score(images, ["a", "b"], 700.0))
    assert load_reward("step-aware-sdxl", source=tmp_path, dtype=torch.float64).model.dtype == torch.float64
