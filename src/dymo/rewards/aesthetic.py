"""The LAION aesthetic predictor: an affine head on the unit embedding of a picture; the prompt plays no part."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from .base import check_pairs, full_precision
from .checkpoint import State, find_file, fitting, put, read_weights, shapes, without_storage
from .clip import normalisation, pretrained
from .head import HIDDEN, AffineHead, hidden_of
from .memory import checkpoint_layers
from .preprocess import OPENAI_MEAN, OPENAI_STD, normalise, shortest_side_crop

FILE = "sac+logos+ava1-l14-linearMSE.pth"
TOWER = "openai/clip-vit-large-patch14"
HEAD = "head.safetensors"
"""The head's file in a folder that `save_pretrained` wrote."""


class AestheticReward:
    """head(f_V(x) / ||f_V(x)||), about 5 to 6.5 on the published head, differentiable from the picture tensor on.

    tower: transformers' CLIP picture tower with its projection; head: on embeddings of its width. Both are frozen.
    """

    reads_timestep = False
    differentiable = True
    cosine_scale: float | None = None

    def __init__(
        self,
        tower: CLIPVisionModelWithProjection,
        head: AffineHead,
        name: str,
        mean: Sequence[float] = OPENAI_MEAN,
        std: Sequence[float] = OPENAI_STD,
        *,
        scale: float = 1.0,
        checkpointing: bool = False,
    ):
        self.model, self.head = (part.eval().requires_grad_(False) for part in (tower, head))
        self.name, self.mean, self.std, self.scale = name, tuple(mean), tuple(std), scale
        self.resolution: int | None = tower.config.image_size
        if checkpointing:
            checkpoint_layers(tower.vision_model.encoder.layers)

    def to(self, device: torch.device | str) -> AestheticReward:
        """Move both parts; returns self."""
        self.model.to(device)
        self.head.to(device)
        return self

    def score(self, images: Tensor, prompts: Sequence[str], timestep: float | None = None) -> Tensor:
        """images (B, 3, H, W) in [0, 1] -> (B,). Raises RewardError on a wrong count."""
        check_pairs(self.name, images, prompts)
        pixels = normalise(shortest_side_crop(images, self.model.config.image_size, "round"), self.mean, self.std)
        embedding = full_precision(self.model(pixel_values=pixels.to(self.model.dtype)).image_embeds)
        unit = F.normalize(embedding, dim=-1)
        return full_precision(self.head(unit.to(self.head.layers[0].weight.dtype)))

    def save_pretrained(self, folder: str | Path) -> None:
        """The tower as transformers saves it, and the head beside it."""
        self.model.save_pretrained(folder)
        save_file({k: v.contiguous() for k, v in self.head.state_dict().items()}, Path(folder) / HEAD)


def head_from_state(
    state: State, name: str, width: int = 768, hidden: Sequence[int] = HIDDEN, dtype: torch.dtype | None = None
) -> AffineHead:
    """The head of weights in the published names. Raises RewardError."""
    head = without_storage(partial(AffineHead, width, hidden))
    return put(head, fitting(shapes(head.state_dict()), state, name), dtype)


def load_aesthetic(source: str | Path, name: str, dtype: torch.dtype | None = None, **settings: Any) -> AestheticReward:
    """source: the head's file, its folder or hub id, with the published tower; or a folder with tower and head.

    A folder with config.json is taken to hold the tower. Raises RewardError.
    """
    own = (Path(source) / "config.json").is_file()
    # A whole CLIP brings its text tower, which is not needed here.
    others = ("text_model.", "text_projection.", "logit_scale")
    tower = pretrained(CLIPVisionModelWithProjection, source if own else TOWER, name, dtype, optional=others)
    saved = Path(source) / HEAD
    state = read_weights(saved if saved.is_file() else find_file(source, FILE, name))
    hidden = hidden_of(state) if own else HIDDEN
    # In float32 whatever the tower is in: the head's layers cancel each other to a few thousandths.
    head = head_from_state(state, name, tower.config.projection_dim, hidden, torch.float32)
    return AestheticReward(tower, head, name, *normalisation(source), **settings)
