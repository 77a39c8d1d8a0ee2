"""Small random reward models of the real classes, and their tokenizers, built offline."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import tiny
import torch
from transformers import BertTokenizer, CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

from dymo.rewards.image_reward import ImageRewardModel, Sizes
from dymo.rewards.open_clip import published
from dymo.rewards.step_aware import StepAwareCLIP

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "green", "apple", "car", "and"]
SIZES = Sizes(
    image_size=16, patch_size=8, vision_width=16, vision_layers=2, vision_heads=2, text_width=16, text_layers=2, text_heads=2,
    vocabulary=len(WORDS), positions=40, window=9, hidden=(12, 8, 6, 4),
)  # fmt: skip


def clip_config(**vision) -> CLIPConfig:
    tok = tiny.tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tok), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=48,
        bos_token_id=tok.bos_token_id, eos_token_id=tok.eos_token_id, pad_token_id=tok.pad_token_id, hidden_act="gelu",
    )  # fmt: skip
    sight = CLIPVisionConfig(
        **{
            "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 16, "patch_size": 8, "hidden_act": "gelu", "projection_dim": 12, **vision,
        }
    )  # fmt: skip
    return CLIPConfig(text_config=text.to_dict(), vision_config=sight.to_dict(), projection_dim=12)


def lively(model: torch.nn.Module) -> torch.nn.Module:
    """With weights large enough, and biases not zero, that every part shows in the result."""
    for name, parameter in model.named_parameters():
        if "norm" not in name.lower() and parameter.ndim > 0 and "logit" not in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def clip(**vision) -> CLIPModel:
    torch.manual_seed(0)
    return CLIPModel(clip_config(**vision)).eval()


def step_aware(**vision) -> StepAwareCLIP:
    """At birth: t changes nothing."""
    torch.manual_seed(0)
    return StepAwareCLIP(clip_config(**vision)).eval()


def image_reward(**changes) -> ImageRewardModel:
    torch.manual_seed(0)
    return lively(ImageRewardModel(dataclasses.replace(SIZES, **changes)))


@functools.cache
def bert_tokenizer() -> BertTokenizer:
    return BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)})


def clip_folder(path: Path, model: CLIPModel) -> Path:
    model.save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return path


def to_open_clip(model: CLIPModel) -> dict[str, torch.Tensor]:
    """A CLIPModel's weights as an open_clip file holds them."""
    found: dict[str, dict[int, torch.Tensor]] = {}
    for name, value in model.state_dict().items():
        theirs, third = published(name)
        found.setdefault(theirs, {})[third or 0] = value.T if theirs in ("text_projection", "visual.proj") else value
    whole = {name: torch.cat([thirds[i] for i in range(3)]) for name, thirds in found.items() if len(thirds) == 3}
    return {name: whole.get(name, thirds[0]).contiguous() for name, thirds in found.items()}


def along(image: torch.Tensor, f):
    """f(image + s direction) of a scalar s: a directional derivative stands for the Jacobian of every pixel."""
    direction = torch.randn(image.shape, dtype=image.dtype, generator=torch.Generator().manual_seed(5))
    return lambda s: f(image + s * direction)


def gradient_is_right(f, size: tuple[int, int]) -> bool:
    """gradcheck in float64 of f, images (1, 3, H, W) -> (1,), along one direction."""
    torch.manual_seed(2)
    image = 0.3 + 0.4 * torch.rand(1, 3, *size, dtype=torch.float64)  # away from the clamp's corners
    start = torch.zeros((), dtype=torch.float64, requires_grad=True)
    return torch.autograd.gradcheck(along(image, f), start)
