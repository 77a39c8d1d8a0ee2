"""PickScore and every other reward that is a CLIP model: exp(logit_scale) x the cosine of picture and prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, CLIPModel

from ..errors import RewardError
from .preprocess import OPENAI_MEAN, OPENAI_STD, normalise, shortest_side_crop


class CLIPReward:
    """exp(logit_scale) cos(f_V(x), f_T(c)), differentiable from the picture tensor on; text features are kept.

    `model`: a transformers CLIPModel; `tokenizer`: its tokenizer. The model is frozen.
    """

    reads_timestep = False

    def __init__(
        self,
        model: CLIPModel,
        tokenizer,
        name: str,
        mean: Sequence[float] = OPENAI_MEAN,
        std: Sequence[float] = OPENAI_STD,
    ):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer, self.name, self.mean, self.std = tokenizer, name, tuple(mean), tuple(std)
        self.resolution: int | None = model.config.vision_config.image_size
        self.cosine_scale: float | None = float(model.logit_scale.detach().float().exp())
        self._texts: dict[str, Tensor] = {}

    def to(self, device: torch.device | str) -> CLIPReward:
        """Move the model; returns self."""
        self.model.to(device)
        self._texts = {prompt: text.to(device) for prompt, text in self._texts.items()}
        return self

    def score(self, images: Tensor, prompts: Sequence[str], timestep: float | None = None) -> Tensor:
        """images (B, 3, H, W) in [0, 1] -> (B,), about 18 to 25 for PickScore."""
        if len(prompts) != images.shape[0]:
            raise RewardError(f"{self.name}: {images.shape[0]} pictures with {len(prompts)} prompts; give one each")
        pixels = normalise(shortest_side_crop(images, self.model.config.vision_config.image_size), self.mean, self.std)
        pictures = self.model.get_image_features(pixel_values=pixels.to(self.model.dtype)).pooler_output
        pictures = torch.nn.functional.normalize(pictures.float(), dim=-1)
        return self.model.logit_scale.float().exp() * (pictures * self._text_features(prompts)).sum(-1)

    def _text_features(self, prompts: Sequence[str]) -> Tensor:
        """Unit text embeddings (B, d); each prompt is encoded once."""
        new = sorted(set(prompts) - set(self._texts))
        if new:
            with torch.no_grad():
                length = self.model.config.text_config.max_position_embeddings
                tokens = self.tokenizer(
                    new, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
                )
                ids = tokens.input_ids.to(self.model.device)
                features = self.model.get_text_features(
                    input_ids=ids, attention_mask=tokens.attention_mask.to(ids.device)
                )
                for prompt, feature in zip(new, features.pooler_output.float(), strict=True):
                    self._texts[prompt] = torch.nn.functional.normalize(feature, dim=-1)
        return torch.stack([self._texts[prompt] for prompt in prompts])


def load_clip(
    source: str | Path, name: str, tokenizer: str | Path | None = None, dtype: torch.dtype | None = None
) -> CLIPReward:
    """A CLIPModel from the hub or a local folder as a reward; safetensors only.

    `tokenizer`: where its tokenizer is, if not beside it. Raises RewardError where the files do not fit a CLIPModel.
    """
    try:
        model, report = CLIPModel.from_pretrained(source, use_safetensors=True, dtype=dtype, output_loading_info=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise RewardError(f"{name}: cannot load a CLIPModel from {str(source)!r}: {error}") from error
    wrong = {
        kind: sorted(report[kind])
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if report.get(kind)
    }
    wrong["unexpected_keys"] = [k for k in wrong.get("unexpected_keys", []) if not k.endswith("position_ids")]
    if any(wrong.values()):
        raise RewardError(
            f"{name}: the weights in {str(source)!r} do not fit: "
            + "; ".join(f"{k}: {v}" for k, v in wrong.items() if v)
        )
    try:
        words = AutoTokenizer.from_pretrained(tokenizer or source)
    except (OSError, ValueError) as error:
        raise RewardError(f"{name}: no tokenizer in {str(tokenizer or source)!r}: {error}") from error
    mean, std = OPENAI_MEAN, OPENAI_STD
    settings = Path(source) / "preprocessor_config.json"
    if settings.is_file():
        found = json.loads(settings.read_text())
        mean, std = found.get("image_mean", mean), found.get("image_std", std)
    return CLIPReward(model, words, name, mean, std)
