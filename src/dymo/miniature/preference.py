"""A second preference model, unlike the first in architecture: a convolutional image tower that the prompt's words look into."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ..rewards.base import check_images, full_precision
from ..rewards.checkpoint import load_folder, save_folder
from ..rewards.clip import load_tokenizer
from ..rewards.preprocess import resized


class Block(nn.Module):
    """Depthwise 5x5, then a pointwise MLP, with a residual: x (B, C, H, W) -> the same shape."""

    def __init__(self, width: int):
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.GroupNorm(4, width)
        self.expand = nn.Conv2d(width, 2 * width, 1)
        self.contract = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.contract(F.gelu(self.expand(self.norm(self.depthwise(x)))))


class ConvPreference(nn.Module):
    """Scores how well images please for their prompts; higher is better, and a difference is a log-odds of preference.

    The image tower gives 8x8 cells, a bidirectional GRU reads the prompt, and each of its tokens attends to the cells.
    """

    name = "mini-hps"
    resolution = 128
    reads_timestep = False
    cosine_scale: float | None = None
    scale = 1.6
    differentiable = True

    def __init__(self, vocab_size: int, width: int = 96, window: int = 24, pad_token_id: int = 0, tokenizer=None):
        super().__init__()
        self.config = {"vocab_size": vocab_size, "width": width, "window": window, "pad_token_id": pad_token_id}
        self.tokenizer = tokenizer
        self.image = nn.Sequential(
            nn.Conv2d(3, width // 3, 8, stride=4, padding=2), nn.GELU(),
            nn.Conv2d(width // 3, 2 * width // 3, 4, stride=2, padding=1), Block(2 * width // 3), Block(2 * width // 3),
            nn.Conv2d(2 * width // 3, width, 4, stride=2, padding=1), Block(width), Block(width), Block(width),
        )  # fmt: skip
        self.place = nn.Parameter(0.02 * torch.randn(1, width, 8, 8))
        self.embedding = nn.Embedding(vocab_size, width)
        self.text = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)
        self.attention = nn.ModuleList(nn.MultiheadAttention(width, 4, batch_first=True) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(5))
        self.mixers = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)) for _ in range(2)
        )
        self.head = nn.Linear(2 * width, 1)

    def cells(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [0, 1] -> features (B, 64, width)."""
        if images.shape[-2:] != (size := (self.resolution, self.resolution)):
            images = resized(full_precision(images), size, "bilinear")
        images = (images * 4 - 2).to(self.head.weight.dtype)
        return self.norms[0]((self.image(images) + self.place).flatten(2).transpose(1, 2))

    def words(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids (B, T) -> states (B, T, width)."""
        return self.text(self.embedding(ids))[0]

    def compare(self, cells: torch.Tensor, words: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Cells (B, 64, width), words (B, T, width), real (B, T) bool, False on padding -> scores (B,)."""
        for k, (attend, mix) in enumerate(zip(self.attention, self.mixers, strict=True)):
            words = words + attend(self.norms[1 + 2 * k](words), cells, cells, need_weights=False)[0]
            words = words + mix(self.norms[2 + 2 * k](words))
        weights = real.to(words)[:, :, None]
        read = (words * weights).sum(1) / weights.sum(1).clamp_min(1)
        return self.head(torch.cat([read, cells.mean(1)], 1))[:, 0]

    def tokens(self, prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask (B, T) of the prompts, cut at the window."""
        if self.tokenizer is None:
            raise RuntimeError("this ConvPreference has no tokenizer: load it with from_pretrained, or set .tokenizer")
        window = self.config["window"]
        found = self.tokenizer(prompts, padding="max_length", max_length=window, truncation=True, return_tensors="pt")
        device = self.head.weight.device
        return found.input_ids.to(device), found.attention_mask.bool().to(device)

    def score(self, images: torch.Tensor, prompts: Sequence[str], timestep: float | None = None) -> torch.Tensor:
        """Scores (B,) of images (B, 3, H, W) in [0, 1], differentiable in them; the timestep is not read."""
        check_images(self.name, images, prompts)
        ids, real = self.tokens(list(prompts))
        return full_precision(self.compare(self.cells(images.to(self.head.weight.device)), self.words(ids), real))

    forward = score

    def save_pretrained(self, folder: str | Path) -> None:
        """config.json, model.safetensors and the tokenizer's files, as `from_pretrained` reads them."""
        save_folder(self, folder, self.config)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: torch.dtype | None = None) -> ConvPreference:
        """What `save_pretrained` wrote. Raises RewardError."""
        model = load_folder(cls, folder, cls.name, dtype)
        model.tokenizer = load_tokenizer(cls.name, folder)
        return model
