"""ImageReward: a BERT that reads the prompt while it looks into the picture's ViT, and an affine head on its [CLS]."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

from ..errors import RewardError
from .base import check_pairs, full_precision
from .checkpoint import State, find_file, fitting, put, read_weights, shapes, without_storage
from .clip import load_tokenizer
from .head import HIDDEN, AffineHead
from .memory import checkpoint_layers
from .preprocess import OPENAI_MEAN, OPENAI_STD, normalise, shortest_side_crop
from .texts import PromptCache

FILE = "ImageReward.pt"
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
    window: int = 35
    """Tokens of a prompt that are read."""
    hidden: Sequence[int] = HIDDEN
    """Of the head."""
    mean: float = 0.16717362830052426
    std: float = 1.0333394966054072
    """Of the head's output on the training set: a score is (output - mean) / std."""


class ImageRewardModel(nn.Module):
    """Scores pictures for tokens; transformers' BLIP towers under their own names."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.sizes = sizes
        self.vision = BlipVisionModel(
            BlipVisionConfig(
                hidden_size=sizes.vision_width, intermediate_size=4 * sizes.vision_width, image_size=sizes.image_size,
                num_hidden_layers=sizes.vision_layers, num_attention_heads=sizes.vision_heads,
                patch_size=sizes.patch_size, layer_norm_eps=1e-6, initializer_range=0.02,
            )
        )  # fmt: skip
        self.text = BlipTextModel(
            BlipTextConfig(
                vocab_size=sizes.vocabulary, hidden_size=sizes.text_width, encoder_hidden_size=sizes.vision_width,
                intermediate_size=4 * sizes.text_width, num_hidden_layers=sizes.text_layers,
                num_attention_heads=sizes.text_heads, max_position_embeddings=sizes.positions,
                # Generation's tokens, which scoring does not use and a small vocabulary does not have.
                bos_token_id=None, eos_token_id=None, sep_token_id=None,
            ),
            add_pooling_layer=False,
        )  # fmt: skip
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
        """config.json and model.safetensors, in the module's own names."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = {"_class_name": "ImageRewardModel", **dataclasses.asdict(self.sizes)}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, folder / "model.safetensors")

    @classmethod
    def from_pretrained(cls, folder: str | Path, name: str = "imagereward", dtype: torch.dtype | None = None) -> Any:
        """What `save_pretrained` wrote. Raises RewardError."""
        try:
            config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
            sizes = Sizes(**{key: value for key, value in config.items() if key != "_class_name"})
        except (OSError, ValueError, TypeError) as error:
            raise RewardError(f"{name}: {folder}/config.json is not an ImageReward's: {error}") from error
        model = without_storage(partial(cls, sizes))
        state = read_weights(Path(folder) / "model.safetensors")
        return put(model, fitting(shapes(model.state_dict()), state, name), dtype)


# The module's names -> the published file's.
_VISION = {
    "embeddings.class_embedding": "cls_token", "embeddings.position_embedding": "pos_embed",
    "embeddings.patch_embedding": "patch_embed.proj", "post_layernorm": "norm",
}  # fmt: skip
_BLOCK = {
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
    "self_attn.qkv": "attn.qkv",
    "self_attn.projection": "attn.proj",
}


def published_name(name: str) -> str:
    """The name in ImageReward.pt of a parameter of `ImageRewardModel`."""
    room, _, rest = name.partition(".")
    if room == "mlp":
        return name
    if room == "text":
        return f"blip.text_encoder.{rest}"
    layer = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", rest)
    if layer is not None:
        return f"blip.visual_encoder.blocks.{layer[1]}.{_BLOCK.get(layer[2], layer[2])}.{layer[3]}"
    part = next(own for own in _VISION if rest.startswith(own))
    return f"blip.visual_encoder.{_VISION[part]}{rest.removeprefix(part)}"


def image_reward_from_state(
    state: State, name: str, sizes: Sizes | None = None, dtype: torch.dtype | None = None
) -> ImageRewardModel:
    """The model of weights in the published names. Raises RewardError."""
    model = without_storage(partial(ImageRewardModel, sizes or Sizes()))
    names = {own: published_name(own) for own in model.state_dict()}
    layout = {names[own]: shape for own, shape in shapes(model.state_dict()).items()}
    found = fitting(layout, state, name, optional=UNUSED)
    return put(model, {own: found[theirs] for own, theirs in names.items()}, dtype)


class ImageReward:
    """(head([CLS]) - mean) / std, about -2.3 to 2, differentiable from the picture tensor on.

    The prompt's embedded tokens are kept; what lies behind them depends on the picture.
    """

    reads_timestep = False
    differentiable = True
    cosine_scale: float | None = None

    def __init__(
        self,
        model: ImageRewardModel,
        tokenizer: Any,
        name: str,
        *,
        scale: float = 1.0,
        checkpointing: bool = False,
    ):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer, self.name, self.scale = tokenizer, name, scale
        self.resolution: int | None = model.sizes.image_size
        self._words = PromptCache(self._embed)
        if checkpointing:
            checkpoint_layers([*model.vision.encoder.layers, *model.text.encoder.layer])

    @property
    def _device(self) -> torch.device:
        return self.model.mlp.layers[0].weight.device

    def to(self, device: torch.device | str) -> ImageReward:
        """Move the model; returns self."""
        self.model.to(device)
        self._words.to(device)
        return self

    def score(self, images: Tensor, prompts: Sequence[str], timestep: float | None = None) -> Tensor:
        """images (B, 3, H, W) in [0, 1] -> (B,). Raises RewardError on a wrong count."""
        check_pairs(self.name, images, prompts)
        dtype = self.model.mlp.layers[0].weight.dtype
        pixels = shortest_side_crop(images, self.model.sizes.image_size, "round")
        words = self._words(prompts)
        made = self.model(normalise(pixels, OPENAI_MEAN, OPENAI_STD).to(dtype), words[..., 1:], words[..., 0].long())
        return full_precision(made)

    def _embed(self, prompts: list[str]) -> Tensor:
        """(n, window, 1 + width): the mask, then the embedded token."""
        tokens = self.tokenizer(
            prompts, padding="max_length", truncation=True, max_length=self.model.sizes.window, return_tensors="pt"
        )
        embedded = self.model.embed(tokens.input_ids.to(self._device))
        return torch.cat([tokens.attention_mask.to(embedded)[..., None], embedded], dim=-1)


def load_image_reward(source: str | Path, name: str, dtype: torch.dtype | None = None, **settings: Any) -> ImageReward:
    """source: ImageReward.pt, its folder or hub id; or the folder that `ImageRewardModel.save_pretrained` wrote.

    Raises RewardError.
    """
    if (Path(source) / "config.json").is_file():
        model, folder, words = ImageRewardModel.from_pretrained(source, name, dtype), Path(source), str(source)
    else:
        path = find_file(source, FILE, name)
        model, folder, words = image_reward_from_state(read_weights(path), name, None, dtype), path.parent, TOKENIZER
    return ImageReward(model, load_tokenizer(name, folder, words), name, **settings)
