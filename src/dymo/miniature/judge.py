"""The miniature's judge: reads from an image which objects it shows, in which colours, and where.

It is a segmenter trained on scenes whose truth is known, and nothing is ever guided by it: a scorer that an aligner
pushed against can be fooled, a judge that never saw the aligner's gradient measures what the image became.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from .world import COLOURS, NOUNS, Caption, Thing

CELLS = 16  # the grid, a side
COLOUR_NAMES = tuple(COLOURS)
MIN_AREA = 7 / CELLS**2  # of the image: the thinnest object whole (a key) covers twice this
MIN_CONFIDENCE = 0.55  # mean probability of the noun in its region
MIN_OFFSET = 0.1  # of the image's side, between the centres of things one of which is "above" the other


@dataclass(frozen=True)
class Seen:
    """An object read from an image; centre (x, y) and area as fractions of the image."""

    noun: str
    colour: str
    centre: tuple[float, float]
    area: float


@dataclass(frozen=True)
class Verdict:
    """What of a caption an image shows.

    objects: every noun is there. colours: each of its nouns that is there (one at least) has its colour.
    relation: whether the relation holds, None where the caption leaves it open. correct: objects and colours.
    """

    objects: bool
    colours: bool
    relation: bool | None
    correct: bool


class Residual(nn.Module):
    """x (B, width, H, W) -> the same shape."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.body(x))


class Judge(nn.Module):
    """Fully convolutional: (B, 3, 64, 64) in [0, 1] -> a noun and a colour, or background, for each of 16x16 cells.

    Background is the last class of both heads.
    """

    def __init__(self, width: int = 64, depth: int = 4):
        super().__init__()
        self.config = {"width": width, "depth": depth}
        self.stem = nn.Sequential(
            nn.Conv2d(3, width // 2, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(width // 2), nn.ReLU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        )  # fmt: skip
        self.trunk = nn.Sequential(*(Residual(width, 1 + i % 2) for i in range(depth)))
        self.noun = nn.Conv2d(width, len(NOUNS) + 1, 1)
        self.colour = nn.Conv2d(width, len(COLOURS) + 1, 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Noun logits (B, 13, 16, 16) and colour logits (B, 9, 16, 16)."""
        features = self.trunk(self.stem(images * 2 - 1))
        return self.noun(features), self.colour(features)

    @torch.no_grad()
    def read(self, images: torch.Tensor) -> list[list[Seen]]:
        """What each of the images (B, 3, 64, 64) in [0, 1] shows, largest first."""
        nouns, colours = self(images.to(self.noun.weight))
        return [_objects(n, c) for n, c in zip(nouns.softmax(1).cpu(), colours.softmax(1).cpu(), strict=True)]

    def save_pretrained(self, folder: str | Path) -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"_class_name": "Judge", **self.config}, indent=2) + "\n")
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, folder / "model.safetensors")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Judge:
        config = json.loads((Path(folder) / "config.json").read_text())
        config.pop("_class_name", None)
        judge = cls(**config)
        judge.load_state_dict(load_file(Path(folder) / "model.safetensors"))
        return judge.eval().requires_grad_(False)


def _regions(labels: torch.Tensor, background: int) -> list[torch.Tensor]:
    """Boolean masks of the connected regions (eight neighbours) of equal label (H, W), background left out."""
    height, width = labels.shape
    rows, found = labels.tolist(), []
    free = {(y, x) for y in range(height) for x in range(width) if rows[y][x] != background}
    while free:
        frontier, mask = [free.pop()], torch.zeros(height, width, dtype=torch.bool)
        while frontier:
            y, x = frontier.pop()
            mask[y, x] = True
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & free
            same = {cell for cell in near if rows[cell[0]][cell[1]] == rows[y][x]}
            free -= same
            frontier.extend(same)
        found.append(mask)
    return found


def _objects(nouns: torch.Tensor, colours: torch.Tensor) -> list[Seen]:
    """From class probabilities (13, H, W) and (9, H, W): the regions that are large and sure enough."""
    seen = []
    height, width = nouns.shape[1:]
    for mask in _regions(nouns.argmax(0), len(NOUNS)):
        area = mask.sum().item() / (height * width)
        weights = nouns[:, mask].mean(1)
        noun = int(weights[:-1].argmax())
        if area < MIN_AREA or weights[noun] < MIN_CONFIDENCE:
            continue
        ys, xs = mask.nonzero(as_tuple=True)
        centre = ((xs.float().mean().item() + 0.5) / width, (ys.float().mean().item() + 0.5) / height)
        colour = int(colours[:-1, mask].mean(1).argmax())
        seen.append(Seen(NOUNS[noun], COLOUR_NAMES[colour], centre, area))
    return sorted(seen, key=lambda s: -s.area)


def _best(thing: Thing, seen: Iterable[Seen]) -> Seen | None:
    """The region that shows `thing`: of its noun, in its colour if there is one, the largest."""
    named = [s for s in seen if s.noun == thing.noun]
    return max(named, key=lambda s: (s.colour == thing.colour, s.area), default=None)


def _holds(relation: str, first: Seen, second: Seen) -> bool:
    """Whether the centres stand so: far enough along the relation's axis, and not farther across it."""
    dx, dy = second.centre[0] - first.centre[0], second.centre[1] - first.centre[1]
    along, across = {
        "to the left of": (dx, dy),
        "to the right of": (-dx, dy),
        "above": (dy, dx),
        "below": (-dy, dx),
        "next to": (abs(dx), dy),
    }[relation]
    return along >= MIN_OFFSET and along >= abs(across)


def satisfied(caption: Caption, seen: Iterable[Seen]) -> Verdict:
    """Compare what was seen with what the caption asks; things beyond the caption's are not held against it."""
    seen = list(seen)
    best = [_best(thing, seen) for thing in caption.things]
    objects = all(b is not None for b in best)
    right = [b.colour == thing.colour for b, thing in zip(best, caption.things, strict=True) if b is not None]
    colours = bool(right) and all(right)
    relation = None
    if len(best) == 2 and caption.relation != "and":
        first, second = best
        relation = first is not None and second is not None and _holds(caption.relation, first, second)
    return Verdict(objects, colours, relation, objects and colours)
