"""Train a classifier of nouns on rendered scenes alone: neither a guide nor the judge, for `training.measure`.

    python -m training.classifier [--device cpu] [--minutes 10]

A small ConvNeXt (Liu et al., 2022) whose cells vote for a noun each; an image's logit counts the votes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from dymo.miniature.world import NOUNS

from . import stack
from .augment import appearance, to_images
from .fit import arguments, begin, fit, record
from .judge import cells
from .scenes import dataset

SHARDS = (8, 9)
"""Of the denoiser's scenes, by seed."""


class Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.GroupNorm(1, width)
        self.mlp = nn.Sequential(nn.Conv2d(width, 3 * width, 1), nn.GELU(), nn.Conv2d(3 * width, width, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mlp(self.norm(self.depthwise(x)))


class Classifier(nn.Module):
    """Images (B, 3, 128, 128) in [0, 1] -> logits (B, 20): which nouns they show."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 48, 4, stride=4), Block(48), nn.Conv2d(48, 96, 2, stride=2), *(Block(96) for _ in range(4))
        )
        self.head = nn.Conv2d(96, len(NOUNS) + 1, 1)

    def votes(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, 21, 16, 16) of what each cell shows, the last for the background."""
        return self.head(self.body(images * 4 - 2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return sure(self.votes(images))


def sure(votes: torch.Tensor) -> torch.Tensor:
    """Logits (B, 20) from votes (B, 21, h, w): log of the number of cells that show a noun, about."""
    return votes.log_softmax(1)[:, :-1].flatten(2).logsumexp(2)


def named(logits: torch.Tensor, nouns: torch.Tensor) -> torch.Tensor:
    """Of each wanted noun (n, k), -1 for none, whether it is among the k surest of an image: float, nan for none."""
    wanted = nouns >= 0
    count = wanted.sum(1, keepdim=True)
    rank = logits.argsort(1, descending=True).argsort(1)
    return torch.where(wanted, (rank.gather(1, nouns.clamp(min=0)) < count).float(), torch.nan)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    args = parser.parse_args()
    args.seed += 303
    begin(args)
    shards = [dataset(args.cache, 4000, seed=seed) for seed in SHARDS]
    images = torch.cat([torch.from_numpy(shard["images"]) for shard in shards])
    nouns = torch.cat([torch.from_numpy(shard["nouns"]).long() for shard in shards])
    masks = torch.cat([torch.from_numpy(shard["masks"]) for shard in shards])
    space = stack.pca(args.cache)
    model = Classifier().to(args.device, memory_format=torch.channels_last)

    def losses(generator: torch.Generator, step: int) -> dict[str, torch.Tensor]:
        pick = torch.randint(0, len(images), (args.batch,), generator=generator)
        x = appearance(to_images(images[pick]), space, generator, 0.6)
        votes = model.votes(x.to(args.device).contiguous(memory_format=torch.channels_last))
        return {
            "cells": F.cross_entropy(votes, cells(masks[pick].float() / 255, nouns[pick], len(NOUNS)).to(args.device))
        }

    fit("classifier", model, losses, args, steps=args.steps, lr=args.lr, weight_decay=0.05)
    fresh = dataset(args.cache, 1000, seed=700)
    nouns = torch.from_numpy(fresh["nouns"]).long()
    with torch.no_grad():
        logits = torch.cat(
            [model(to_images(part).to(args.device)).cpu() for part in torch.from_numpy(fresh["images"]).split(100)]
        )
    distinct = torch.tensor([list(dict.fromkeys(row)) + [-1] * (3 - len(dict.fromkeys(row))) for row in nouns.tolist()])
    clean = torch.from_numpy(fresh["flaw"] < 0)
    hits = named(logits, distinct)
    record(classifier={"named": round(hits.nanmean().item(), 4), "named_clean": round(hits[clean].nanmean().item(), 4)})


if __name__ == "__main__":
    main()
