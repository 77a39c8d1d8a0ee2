"""ImageReward: a BERT that reads the prompt while it looks into the image's ViT, and an affine head on its [CLS]."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

from .checkpoint import State, find_file, from_state, load_folder, read_weights, save_folder
from .clip import load_tokenizer
from .head import HIDDEN, AffineHead
from .preprocess import OPENAI_MEAN, OPENAI_STD, normalise, shortest_side_crop
from .registry import Spec
from .tower import PromptTowerReward

TOKENIZER = "google-bert/bert-base-uncased"
# In the published file, left over from the model's pretraining and never used.
UNUSED = ("blip.vision_proj.", "blip.text_proj.")


@dataclass(frozen=True)
class Sizes:
    """The published model; a smaller one has other numbers."""

    image_size: int = 224
    patch_size: int = 16
    vision_width: int = 1024
    vision_layers: int = 24
    vision_heads: int = 16
    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    vocabulary: int = 30524
    positions: int = 512
    window: int = 35  # tokens of a prompt that are read
    hidden: Sequence[int] = HIDDEN  # of the head
    mean: float = 0.16717362830052426
    std: float = 1.0333394966054072  # of the head's output on the training set: a score is (output - mean) / std


class ImageRewardModel(nn.Module):
    """Scores images for tokens; transformers' BLIP towers under their own names."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.sizes = sizes
        vision = BlipVisionConfig(
            hidden_size=sizes.vision_width, intermediate_size=4 * sizes.vision_width, image_size=sizes.image_size,
            num_hidden_layers=sizes.vision_layers, num_attention_heads=sizes.vision_heads,
            patch_size=sizes.patch_size, layer_norm_eps=1e-6, initializer_range=0.02,
        )  # fmt: skip
        text = BlipTextConfig(
            vocab_size=sizes.vocabulary, hidden_size=sizes.text_width, encoder_hidden_size=sizes.vision_width,
            intermediate_size=4 * sizes.text_width, num_hidden_layers=sizes.text_layers,
            num_attention_heads=sizes.text_heads, max_position_embeddings=sizes.positions,
            # Generation's tokens, which scoring does not use and a small vocabulary does not have.
            bos_token_id=None, eos_token_id=None, sep_token_id=None,
        )  # fmt: skip
        self.vision, self.text = BlipVisionModel(vision), BlipTextModel(text, add_pooling_layer=False)
        self.mlp = AffineHead(sizes.text_width, sizes.hidden)

    def forward(self, pixels: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """Prepared pixels (B, 3, side, side), embedded tokens (B, n, width), mask (B, n), 0 on padding -> (B,)."""
        cells = self.vision(pixel_values=pixels).last_hidden_state
        states = self.text(encoder_embeds=words, attention_mask=mask, encoder_hidden_states=cells).last_hidden_state
        return (self.mlp(states[:, 0]) - self.sizes.mean) / self.sizes.std

    def embed(self, ids: Tensor) -> Tensor:
        """Tokens (B, n) -> what enters BERT's first layer, (B, n, width)."""
        return self.text.embeddings(input_ids=ids)

    def save_pretrained(self, folder: str | Path) -> None:
        """config.json and model.safetensors, as `from_pretrained` reads them."""
        save_folder(self, folder, dataclasses.asdict(self.sizes))

    @classmethod
    def from_pretrained(cls, folder: str | Path, name: str = "imagereward", dtype: torch.dtype | None = None) -> Any:
        """What `save_pretrained` wrote. Raises RewardError."""
        return load_folder(lambda **config: cls(Sizes(**config)), folder, name, dtype)


# Parts of the module's names -> those of the published file, one after the other.
_PUBLISHED = {
    "vision.embeddings.class_embedding": "vision.cls_token", "vision.embeddings.position_embedding": "vision.pos_embed",
    "vision.embeddings.patch_embedding": "vision.patch_embed.proj", "vision.post_layernorm": "vision.norm",
    "vision.encoder.layers": "vision.blocks", ".layer_norm": ".norm", ".self_attn.qkv": ".attn.qkv",
    ".self_attn.projection": ".attn.proj", "vision.": "blip.visual_encoder.", "text.": "blip.text_encoder.",
}  # fmt: skip


def published_name(name: str) -> str:
    """The name in ImageReward.pt of a parameter of `ImageRewardModel`."""
    for own, theirs in _PUBLISHED.items():
        name = name.replace(own, theirs)
    return name


def image_reward_from_state(
    state: State, name: str, dtype: torch.dtype | None = None, sizes: Sizes | None = None
) -> ImageRewardModel:
    """The model of weights in the published names. Raises RewardError."""
    return from_state(partial(ImageRewardModel, sizes or Sizes()), state, name, dtype, published_name, UNUSED)


class ImageReward(PromptTowerReward):
    """(head([CLS]) - mean) / std, about -2.3 to 2. Settings: those of `PromptTowerReward`.

    The prompt's embedded tokens are kept; what lies behind them depends on the image.
    """

    model: ImageRewardModel

    def __init__(self, model: ImageRewardModel, tokenizer: Any, name: str, **settings: Any):
        layers = [*model.vision.encoder.layers, *model.text.encoder.layer]
        super().__init__(model, name, model.sizes.image_size, layers, **settings)
        self.tokenizer = tokenizer

    def _score(self, images: Tensor, prompts: Sequence[str], timestep: float | None) -> Tensor:
        pixels = normalise(shortest_side_crop(images, self.model.sizes.image_size, "round"), OPENAI_MEAN, OPENAI_STD)
        words = self._prompts(prompts)
        return self.model(pixels.to(self.dtype), words[..., 1:], words[..., 0].long())

    def _encode(self, prompts: list[str]) -> Tensor:
        """(n, window, 1 + width): the mask, then the embedded token."""
        window = {"padding": "max_length", "truncation": True, "max_length": self.model.sizes.window}
        tokens = self.tokenizer(prompts, **window, return_tensors="pt")
        embedded = self.model.embed(tokens.input_ids.to(self.device))
        return torch.cat([tokens.attention_mask.to(embedded)[..., None], embedded], dim=-1)


def load_image_reward(spec: Spec, source: str | Path, dtype: torch.dtype | None = None, **settings: Any) -> ImageReward:
    """source: ImageReward.pt, its folder or hub id; or the folder that `ImageRewardModel.save_pretrained` wrote.

    Raises RewardError.
    """
    if (Path(source) / "config.json").is_file():
        model, folder, words = ImageRewardModel.from_pretrained(source, spec.name, dtype), Path(source), str(source)
    else:
        path = find_file(source, spec.file, spec.name)
        model, folder, words = image_reward_from_state(read_weights(path), spec.name, dtype), path.parent, TOKENIZER
    return ImageReward(model, load_tokenizer(spec.name, folder, words), spec.name, **spec.of_scores, **settings)
