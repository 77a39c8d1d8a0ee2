"""The miniature's judge: reads from an image which objects it shows, in which colours, how many, and where.

It is a detector trained on scenes whose truth is known, and nothing is ever guided by it: a scorer that an aligner
pushed against can be fooled, a judge that never saw the aligner's gradient measures what the image became.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ..rewards.checkpoint import load_folder, save_folder
from .world import COLOURS, NOUNS, Caption

CELLS = 16  # the grid, a side
COLOUR_NAMES = tuple(COLOURS)
MIN_CONFIDENCE = 0.5  # of an object's centre
MIN_SLOPE = 0.75  # along a relation's axis against across it: scenes have 1, between the centres of the boxes
MIN_OFFSET = 0.1  # of the image's side, between the centres of things one of which is "above" the other


@dataclass(frozen=True)
class Seen:
    """An object read from an image; centre (x, y) as fractions of the image, confidence in [0, 1]."""

    noun: str
    colour: str
    centre: tuple[float, float]
    confidence: float = 1.0


@dataclass(frozen=True)
class Verdict:
    """What of a caption an image shows.

    objects: each noun is there, as often as the caption says or oftener; counts: exactly as often; colours: every
    object of a noun of the caption has the caption's colour; relation: they stand as it says, None if it says
    nothing; correct: all of these.
    """

    objects: bool
    counts: bool
    colours: bool
    relation: bool | None
    correct: bool


class Residual(nn.Module):
    """Two 3x3 convolutions with batch norms around a shortcut: (B, C, H, W) -> the same shape."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.body(x))


class Judge(nn.Module):
    """Images (B, 3, 128, 128) in [0, 1] -> for each of 16x16 cells, which noun has its centre there, and the colour.

    The last class of the colours is the background.
    """

    def __init__(self, width: int = 96, depth: int = 4):
        super().__init__()
        self.config = {"width": width, "depth": depth}
        stem = []
        for c_in, c_out, side in ((3, width // 3, 5), (width // 3, 2 * width // 3, 3), (2 * width // 3, width, 3)):
            stem += [nn.Conv2d(c_in, c_out, side, stride=2, padding=side // 2, bias=False), nn.BatchNorm2d(c_out)]
            stem += [nn.ReLU()]
        self.stem = nn.Sequential(*stem)
        self.trunk = nn.Sequential(*(Residual(width, 1 + i % 2) for i in range(depth)))
        self.centre = nn.Conv2d(width, len(NOUNS), 1)
        self.colour = nn.Conv2d(width, len(COLOURS) + 1, 1)
        nn.init.constant_(self.centre.bias, -4.0)  # centres are rare

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, 128, 128) in [0, 1] -> (B, width, 16, 16)."""
        return self.trunk(self.stem(images * 2 - 1))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of the nouns' centres (B, 20, 16, 16) and of the colours (B, 9, 16, 16)."""
        features = self.features(images)
        return self.centre(features), self.colour(features)

    @torch.no_grad()
    def read(self, images: torch.Tensor) -> list[list[Seen]]:
        """What each of the images (B, 3, 128, 128) in [0, 1] shows, surest first."""
        centres, colours = self(images.to(self.centre.weight))
        return [_objects(n, c) for n, c in zip(centres.sigmoid().cpu(), colours.softmax(1).cpu(), strict=True)]

    def save_pretrained(self, folder: str | Path) -> None:
        """config.json and model.safetensors, as `from_pretrained` reads them."""
        save_folder(self, folder, self.config)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Judge:
        """What `save_pretrained` wrote. Raises RewardError."""
        return load_folder(cls, folder, "judge").float()


def _objects(centres: torch.Tensor, colours: torch.Tensor) -> list[Seen]:
    """From probabilities (20, H, W) and (9, H, W): the peaks among their 5x5 neighbours that are sure enough."""
    seen = []
    height, width = centres.shape[1:]
    best = centres.amax(0)
    peaks = (best >= MIN_CONFIDENCE) & (best == F.max_pool2d(best[None], 5, stride=1, padding=2)[0])
    for y, x in peaks.nonzero().tolist():
        near = slice(max(0, y - 1), y + 2), slice(max(0, x - 1), x + 2)
        # The centre, finer than a cell: the mean of the neighbourhood's cells.
        weight = best[near]
        ys, xs = torch.meshgrid(*(torch.arange(s.start, min(s.stop, CELLS)).float() for s in near), indexing="ij")
        centre = tuple(((v * weight).sum() / weight.sum() + 0.5).item() / n for v, n in ((xs, width), (ys, height)))
        colour = int(colours[:-1, near[0], near[1]].mean((1, 2)).argmax())
        seen.append(Seen(NOUNS[int(centres[:, y, x].argmax())], COLOUR_NAMES[colour], centre, best[y, x].item()))
    return sorted(seen, key=lambda s: -s.confidence)


def _holds(relation: str, first: Seen, second: Seen) -> bool:
    """Whether the centres stand so: far enough along the relation's axis, and not much farther across it."""
    dx, dy = second.centre[0] - first.centre[0], second.centre[1] - first.centre[1]
    along, across = {
        "to the left of": (dx, dy),
        "to the right of": (-dx, dy),
        "above": (dy, dx),
        "below": (-dy, dx),
        "next to": (abs(dx), dy),
    }[relation]
    return along >= MIN_OFFSET and along >= MIN_SLOPE * abs(across)


def satisfied(caption: Caption, seen: Iterable[Seen]) -> Verdict:
    """Compare what was seen with all that the caption says; objects of other nouns are not held against the image."""
    seen = list(seen)
    shown = [[s for s in seen if s.noun == thing.noun] for thing in caption.things]
    pairs = list(zip(caption.things, shown, strict=True))
    objects = all(len(found) >= thing.count for thing, found in pairs)
    counts = all(len(found) == thing.count for thing, found in pairs)
    colours = objects and all(s.colour == thing.colour for thing, found in pairs for s in found)
    relation = None
    if len(caption.things) > 1 and caption.relation != "and":
        others = list(itertools.chain.from_iterable(shown[1:]))
        relation = objects and all(_holds(caption.relation, a, b) for a in shown[0] for b in others)
    return Verdict(objects, counts, colours, relation, counts and colours and relation is not False)
