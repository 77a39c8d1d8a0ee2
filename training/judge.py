"""Train the judge: a detector of nouns and colours, on scenes of every noun in every colour.

    python -m training.judge [--steps 1500] [--device cpu] [--minutes 20]

It must also read generated images, so it practises on spoilt, warped, tinted, pasted and blended scenes; a blend's
labels are blended too, so that an image that is half a car and half a hat is not read as a sure car; and a scene
molten past recognition has colours but no nouns.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from dymo.miniature.judge import CELLS, COLOUR_NAMES, Judge, Seen, satisfied
from dymo.miniature.world import ALL_THINGS, NOUNS, Caption, caption_of, sample_caption

from . import stack
from .augment import appearance, chosen, melt_grid, to_images, uniform, warp_grid
from .fit import arguments, begin, fit, part, record
from .scenes import FLAWS, GRID, Composer, stored

SCENES = 10_000
CHANNELS = [len(NOUNS), len(NOUNS) + 1, len(COLOUR_NAMES) + 1]
"""Of the labels: centres, nouns of the cells, colours of the cells."""
OPPOSITE = {
    "to the left of": "to the right of",
    "to the right of": "to the left of",
    "above": "below",
    "below": "above",
}


def pool(cache: Path, n: int, seed: int, p_flaw: float) -> dict[str, np.ndarray]:
    """`n` scenes of any captions over ALL_THINGS, a share `p_flaw` of them spoilt (see `scenes.stored`)."""

    def draw(rng: random.Random) -> tuple[Caption, str | None]:
        return sample_caption(rng, ALL_THINGS), rng.choice(FLAWS) if rng.random() < p_flaw else None

    return stored(cache / f"pool-{n}-{seed}-{p_flaw}.npz", n, f"pool-{seed}", lambda: Composer(cache), draw)


def cells(masks: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Soft cell labels (B, classes + 1, 16, 16) from coverages (B, 3, 16, 16) and class indices (B, 3), -1 for none.

    Coverage counts double, up to 1: a thin object covers few cells by half. The last class is the background.
    """
    cover = (2 * masks).clamp(max=1) * (labels >= 0)[:, :, None, None]
    cover = cover / cover.sum(1, keepdim=True).clamp(min=1)
    one_hot = F.one_hot(labels.clamp(min=0), classes).float()
    inside = torch.einsum("bkhw,bkc->bchw", cover, one_hot)
    return torch.cat([inside, 1 - inside.sum(1, keepdim=True)], 1)


def centres(masks: torch.Tensor, nouns: torch.Tensor, sigma: float = 0.8) -> torch.Tensor:
    """Heat (B, 20, 16, 16): 1 at the cell where a noun's object has its centre of mass, falling off around it."""
    weight = masks / masks.sum((2, 3), keepdim=True).clamp(min=1e-6)
    axis = torch.arange(GRID).float()
    y, x = (weight.sum(3) @ axis).round(), (weight.sum(2) @ axis).round()
    far = (axis[None, None, :, None] - y[..., None, None]).square() + (
        axis[None, None, None, :] - x[..., None, None]
    ).square()
    heat = torch.exp(-0.5 * far / sigma**2) * (nouns >= 0)[:, :, None, None]
    made = torch.zeros(len(masks), len(NOUNS), GRID, GRID)
    for i in range(nouns.shape[1]):
        at = nouns[:, i].clamp(min=0)[:, None, None, None].expand(-1, 1, GRID, GRID)
        made.scatter_reduce_(1, at, heat[:, i : i + 1], "amax")
    return made


def practise(
    images: torch.Tensor, labels: torch.Tensor, space: stack.PatchPCA, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Augmented images (B, 3, 128, 128) and their labels (B, 50, 16, 16), warped, pasted and blended alike."""
    n, pixels = len(images), images.shape[-1]
    background = sum(CHANNELS[:2]) - 1
    # A weak denoiser makes blobs of the right colour: such a blob is a colour and no noun.
    molten = chosen(n, 0.12, generator)
    grid = torch.lerp(warp_grid(n, generator, 1.0), melt_grid(n, generator), molten)
    warped = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    small = F.interpolate(grid.permute(0, 3, 1, 2), size=CELLS, mode="area").permute(0, 2, 3, 1)
    warped_labels = F.grid_sample(labels, small, padding_mode="border", align_corners=False)
    blob = torch.zeros_like(warped_labels)
    blob[:, background] = 1
    blob[:, background + 1 :] = warped_labels[:, background + 1 :]
    warped_labels = torch.lerp(warped_labels, blob, molten)
    use = torch.maximum(molten, chosen(n, 0.5, generator))
    images, labels = torch.lerp(images, warped, use), torch.lerp(labels, warped_labels, use)

    other = torch.randperm(n, generator=generator)
    window = torch.zeros(n, 1, CELLS, CELLS)  # a rectangle of cells to be taken from another scene
    corner = torch.randint(0, CELLS - 4, (n, 2), generator=generator)
    side = torch.randint(3, 10, (n, 2), generator=generator)
    for i in range(n):
        (y, x), (h, w) = corner[i].tolist(), side[i].tolist()
        window[i, :, y : y + h, x : x + w] = 1
    pasted, blended = chosen(n, 0.12, generator), chosen(n, 0.1, generator)
    share = window * pasted + (1 - pasted) * blended * uniform(n, 0.1, 0.9, generator)
    fine = share.repeat_interleave(pixels // CELLS, 2).repeat_interleave(pixels // CELLS, 3)
    images, labels = torch.lerp(images, images[other], fine), torch.lerp(labels, labels[other], share)

    # Holes smaller than an object keep its label, so that it is read as whole.
    holes = (F.interpolate(torch.rand(n, 1, 12, 12, generator=generator), size=pixels) < 0.06).float()
    holes = holes * chosen(n, 0.3, generator)
    images = torch.lerp(images, torch.rand(n, 3, 1, 1, generator=generator).expand_as(images), holes)
    return appearance(images, space, generator), labels


def heat_loss(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Quality focal loss (Li et al., 2020) a centre: |wanted - p|^2 times the cross-entropy."""
    each = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (each * (wanted - logits.sigmoid()).square()).sum() / wanted.amax((2, 3)).sum().clamp(min=1)


def wrongs(caption: Caption) -> dict[str, Caption]:
    """Captions that an image of `caption` must not be accepted for, by what is wrong."""
    made = {}
    first, *rest = caption.things
    if rest and first.colour != rest[0].colour:
        exchanged = replace(first, colour=rest[0].colour), replace(rest[0], colour=first.colour), *rest[1:]
        made["exchanged_colours"] = replace(caption, things=exchanged)
    if caption.relation in OPPOSITE:
        made["exchanged_places"] = replace(caption, relation=OPPOSITE[caption.relation])
    total = len(caption.instances)
    other = {1: 2, 2: 1, 3: 2}[first.count] if total - first.count + 2 <= 3 or first.count > 1 else None
    if other:
        made["wrong_count"] = replace(caption, things=(replace(first, count=other), *rest))
    return made


def shares(captions: list[Caption], seen: list[list[Seen]]) -> dict[str, float]:
    """Of images that show their captions: how many are accepted, and for how many wrong captions each."""
    verdicts = [satisfied(caption, found) for caption, found in zip(captions, seen, strict=True)]
    columns: dict[str, list[bool]] = {
        "correct": [v.correct for v in verdicts],
        "relation": [v.relation for v in verdicts if v.relation is not None],
    }
    for n in (1, 2, 3):
        columns[f"correct_of_{n}"] = [
            v.correct for v, c in zip(verdicts, captions, strict=True) if len(c.instances) == n
        ]
    for caption, found in zip(captions, seen, strict=True):
        for name, wrong in wrongs(caption).items():
            columns.setdefault(f"{name}_accepted", []).append(satisfied(wrong, found).correct)
    return {name: round(float(np.mean(column)), 4) for name, column in columns.items()}


def trained_judge(cache: Path) -> Judge:
    """The judge of the recipe's checkpoint, for inference."""
    saved = torch.load(cache / "judge.pt", weights_only=True, map_location="cpu")["model"]
    judge = Judge()
    judge.load_state_dict(part(saved, "judge."))
    return judge.eval().requires_grad_(False)


def report(judge: Judge, space: stack.PatchPCA, args) -> None:
    """Accuracy on 2000 fresh scenes each: as they are, spoilt, and through the latent space."""
    figures = {}
    for name, p_flaw in (("clean", 0.0), ("spoilt", 1.0), ("latent_round_trip", 0.0)):
        fresh = pool(args.cache, 2000, seed=8 + int(p_flaw), p_flaw=p_flaw)
        seen = []
        for batch in torch.from_numpy(fresh["images"]).split(100):
            shown = space.decode(space.encode(batch.float())) if name == "latent_round_trip" else to_images(batch)
            seen += judge.read(shown.clamp(0, 1).to(args.device))
        figures[name] = shares([caption_of(str(text)) for text in fresh["captions"]], seen)
    record(judge=figures)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3)
    args = parser.parse_args()
    begin(args)
    scenes = pool(args.cache, SCENES, seed=args.seed, p_flaw=0.5)
    space = stack.pca(args.cache)
    images, masks = torch.from_numpy(scenes["images"]), torch.from_numpy(scenes["masks"])
    nouns, colours = (torch.from_numpy(scenes[key]).long() for key in ("nouns", "colours"))
    judge = Judge()
    # What each cell shows teaches the features sooner than the centres alone; this head is not kept.
    model = torch.nn.ModuleDict({"judge": judge, "cells": torch.nn.Conv2d(96, CHANNELS[1], 1)})
    model.to(args.device, memory_format=torch.channels_last)

    def losses(generator: torch.Generator, step: int) -> dict[str, torch.Tensor]:
        pick = torch.randint(0, SCENES, (args.batch,), generator=generator)
        cover = masks[pick].float() / 255
        parts = [
            centres(cover, nouns[pick]),
            cells(cover, nouns[pick], len(NOUNS)),
            cells(cover, colours[pick], len(COLOUR_NAMES)),
        ]
        x, labels = practise(to_images(images[pick]), torch.cat(parts, 1), space, generator)
        heat, noun, colour = labels.to(args.device).split(CHANNELS, 1)
        features = judge.features(x.to(args.device).contiguous(memory_format=torch.channels_last))
        return {
            "centre": heat_loss(judge.centre(features), heat),
            "noun": F.cross_entropy(model["cells"](features), noun),
            "colour": F.cross_entropy(judge.colour(features), colour),
        }

    fit("judge", model, losses, args, steps=args.steps, lr=args.lr)
    report(judge, space, args)


if __name__ == "__main__":
    main()
