"""The LAION aesthetic predictor: an affine head on the unit embedding of an image; the prompt plays no part."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from .checkpoint import State, find_file, from_state, read_weights
from .clip import normalisation, pretrained
from .head import HIDDEN, AffineHead, hidden_of
from .preprocess import OPENAI_MEAN, OPENAI_STD, normalise, shortest_side_crop
from .registry import Spec
from .tower import TowerReward

TOWER = "openai/clip-vit-large-patch14"
HEAD = "head.safetensors"  # the head's file in a folder that `save_pretrained` wrote


class AestheticReward(TowerReward):
    """head(f_V(x) / ||f_V(x)||), about 5 to 6.5 on the published head; the prompt plays no part.

    tower: transformers' CLIP image tower with its projection; head: on embeddings of its width. Settings: those of
    `TowerReward`.
    """

    reads_prompt = False

    def __init__(
        self, tower: CLIPVisionModelWithProjection, head: AffineHead, name: str, mean: Sequence[float] = OPENAI_MEAN,
        std: Sequence[float] = OPENAI_STD, **settings: Any,
    ):  # fmt: skip
        model = nn.ModuleDict({"tower": tower, "head": head})
        super().__init__(model, name, tower.config.image_size, tower.vision_model.encoder.layers, **settings)
        self.tower, self.head, self.mean, self.std = tower, head, tuple(mean), tuple(std)

    def _score(self, images: Tensor, prompts: Sequence[str], timestep: float | None) -> Tensor:
        pixels = normalise(shortest_side_crop(images, self.tower.config.image_size, "round"), self.mean, self.std)
        embedding = self.tower(pixel_values=pixels.to(self.dtype)).image_embeds.to(self.head.layers[0].weight.dtype)
        return self.head(F.normalize(embedding, dim=-1))

    def save_pretrained(self, folder: str | Path) -> None:
        """The tower as transformers saves it, and the head beside it."""
        self.tower.save_pretrained(folder)
        save_file({k: v.contiguous() for k, v in self.head.state_dict().items()}, Path(folder) / HEAD)


def head_from_state(
    state: State, name: str, width: int = 768, hidden: Sequence[int] = HIDDEN, dtype: torch.dtype | None = None
) -> AffineHead:
    """The head of weights in the published names. Raises RewardError."""
    return from_state(partial(AffineHead, width, hidden), state, name, dtype)


def load_aesthetic(spec: Spec, source: str | Path, dtype: torch.dtype | None = None, **settings: Any) -> TowerReward:
    """source: the head's file, its folder or hub id, with the published tower; or a folder with tower and head.

    A folder with config.json is taken to hold the tower. Raises RewardError.
    """
    own = (Path(source) / "config.json").is_file()
    # A whole CLIP brings its text tower, which is not needed here.
    others = ("text_model.", "text_projection.", "logit_scale")
    tower = pretrained(CLIPVisionModelWithProjection, source if own else TOWER, spec.name, dtype, optional=others)
    saved = Path(source) / HEAD
    state = read_weights(saved if saved.is_file() else find_file(source, spec.file, spec.name))
    # In float32 where the tower is in half: the head's layers cancel each other to a few thousandths.
    precise = torch.float64 if dtype == torch.float64 else torch.float32
    head = head_from_state(state, spec.name, tower.config.projection_dim, hidden_of(state) if own else HIDDEN, precise)
    return AestheticReward(tower, head, spec.name, *normalisation(source, spec.name), **spec.of_scores, **settings)
