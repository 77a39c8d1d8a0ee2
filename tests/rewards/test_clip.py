import pytest
import tiny
import torch
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

from dymo import RewardError, load_reward
from dymo.rewards.clip import CLIPReward
from dymo.rewards.preprocess import normalise, shortest_side_crop


def clip(**vision):
    torch.manual_seed(0)
    tok = tiny.tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tok), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=48,
        bos_token_id=tok.bos_token_id, eos_token_id=tok.eos_token_id, pad_token_id=tok.pad_token_id,
    )  # fmt: skip
    sight = CLIPVisionConfig(
        **{
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 16,
            "patch_size": 8,
            **vision,
        }
    )
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=sight.to_dict(), projection_dim=12)).eval()


@pytest.fixture
def folder(tmp_path):
    clip().save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    return tmp_path


def test_the_score_is_transformers_own_logit(folder):
    reward = load_reward("pickscore", source=folder)
    images, prompts = torch.rand(3, 3, 16, 16), ["a red car", "an apple", "a red car"]
    tokens = tiny.tokenizer()(prompts, padding="max_length", max_length=48, return_tensors="pt")
    with torch.no_grad():
        pixels = normalise(images, reward.mean, reward.std)
        expected = clip()(
            input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, pixel_values=pixels
        ).logits_per_image.diagonal()
    torch.testing.assert_close(reward.score(images, prompts), expected, atol=1e-5, rtol=1e-5)
    assert reward.cosine_scale == pytest.approx(clip().logit_scale.exp().item())


def test_a_prompt_is_encoded_once(folder):
    reward, calls = load_reward(folder), []
    reward.model.text_model.register_forward_hook(lambda *a: calls.append(1))
    for _ in range(3):
        reward.score(torch.rand(2, 3, 16, 16), ["a car", "an apple"])
    assert len(calls) == 1


@pytest.mark.parametrize("size", [(20, 20), (18, 24)])
def test_gradcheck_through_preprocessing_and_tower(size):
    reward = CLIPReward(clip(image_size=8, patch_size=4).double(), tiny.tokenizer(), "small")
    reward.model.logit_scale.data.fill_(0.0)
    images = 0.3 + 0.4 * torch.rand(1, 3, *size, dtype=torch.float64)
    projected = torch.randn(1, 3, *size, dtype=torch.float64)

    def along(step):  # a directional derivative: the full Jacobian of every pixel would take minutes
        pixels = normalise(shortest_side_crop(images + step * projected, 8), reward.mean, reward.std)
        return reward.model.get_image_features(pixel_values=pixels).pooler_output

    assert torch.autograd.gradcheck(along, torch.zeros((), dtype=torch.float64, requires_grad=True))


def test_the_gradient_reaches_every_part_of_the_picture(folder):
    images = (0.3 + 0.4 * torch.rand(2, 3, 16, 16)).requires_grad_()
    (gradient,) = torch.autograd.grad(load_reward(folder).score(images, ["a", "b"]).sum(), images)
    assert gradient.isfinite().all() and (gradient.flatten(1).abs().sum(1) > 0).all()


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (300, 200), (17, 40), (224, 500), (1024, 768)])
def test_preprocessing_is_pil_s(size):
    """Shortest side bicubic, centre crop: against PIL on 8-bit pictures, to its rounding."""
    import numpy as np
    from PIL import Image

    picture = (
        torch.nn.functional.interpolate(torch.rand(1, 3, 7, 9), size, mode="bicubic").clamp(0, 1).mul(255).round() / 255
    )
    made = shortest_side_crop(picture, 32)
    short = min(size)
    new = (int(32 * size[0] / short), int(32 * size[1] / short))
    pil = Image.fromarray((picture[0].permute(1, 2, 0) * 255).round().byte().numpy()).resize(
        new[::-1], Image.Resampling.BICUBIC
    )
    top, left = (new[0] - 32) // 2, (new[1] - 32) // 2
    expected = (
        torch.from_numpy(np.asarray(pil).copy()).permute(2, 0, 1)[None, :, top : top + 32, left : left + 32] / 255
    )
    assert made.shape == (1, 3, 32, 32)
    torch.testing.assert_close(made, expected, atol=2.5 / 255, rtol=0)


def test_weights_that_do_not_fit_are_named(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    lost = weights.pop("visual_projection.weight")
    save_file({**weights, "visual_projektion.weight": lost}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RewardError, match="visual_projection.*visual_projektion"):
        load_reward("pickscore", source=folder)


def test_what_is_not_there():
    with pytest.raises(RewardError, match="unknown reward 'prickscore'"):
        load_reward("prickscore")


def test_a_function_is_a_reward():
    reward = load_reward(tiny.brightness)
    assert reward.name == "brightness"
    torch.testing.assert_close(reward.score(torch.ones(2, 3, 4, 4), ["a", "b"]), torch.ones(2))
    timed = load_reward(lambda images, prompts, timestep: images.mean((1, 2, 3)) * timestep)
    torch.testing.assert_close(timed.score(torch.ones(1, 3, 4, 4), ["a"], 500.0), torch.tensor([500.0]))
