"""Train the judge: a segmenter of nouns and colours, on scenes of every noun in every colour.

    python -m training.judge [--steps 1400] [--device cpu] [--minutes 8]

It must also read generated pictures, so it practises on spoilt, warped, tinted, pasted and blended scenes; a blend's
labels are blended too, so that a picture that is half a car and half a hat is not read as a sure car; and a scene
molten past recognition has colours but no nouns.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from dymo.miniature.judge import CELLS, COLOUR_NAMES, Judge, satisfied
from dymo.miniature.world import ALL_THINGS, NOUNS, RELATIONS, Caption, Thing, sample_caption

from . import stack
from .augment import appearance, chosen, melt_grid, to_pictures, uniform, warp_grid
from .fit import arguments, begin, fit, record
from .scenes import FLAWS, GRID, Painter

SCENES = 12_000
RELATION_NAMES = ("and", *RELATIONS)


def pool(cache: Path, n: int, seed: int, p_flaw: float, p_two: float = 0.75) -> dict[str, np.ndarray]:
    """`n` scenes of ALL_THINGS, kept on disk: pictures (n, 64, 64, 3), masks (n, 2, 16, 16), truth (n, 5) int8.

    A row of truth is noun, colour, noun, colour, relation; -1 where there is no second thing.
    """
    path = cache / f"pool-{n}-{seed}-{p_flaw}-{p_two}.npz"
    if not path.exists():
        painter, rng = Painter(cache), random.Random(f"pool-{seed}")
        pictures, masks = np.zeros((n, 64, 64, 3), np.uint8), np.zeros((n, 2, GRID, GRID), np.uint8)
        truth = np.full((n, 5), -1, np.int8)
        for i in range(n):
            caption = sample_caption(rng, ALL_THINGS, p_two)
            scene = painter.paint(caption, rng, rng.choice(FLAWS) if rng.random() < p_flaw else None)
            pictures[i], masks[i, : len(scene.masks)] = scene.picture, (scene.masks * 255).round()
            for k, thing in enumerate(caption.things):
                truth[i, 2 * k : 2 * k + 2] = NOUNS.index(thing.noun), COLOUR_NAMES.index(thing.colour)
            truth[i, 4] = RELATION_NAMES.index(caption.relation)
        np.savez(path, pictures=pictures, masks=masks, truth=truth)
    return dict(np.load(path))


def caption_of(truth: np.ndarray) -> Caption:
    """The caption a row of a pool's truth stands for."""
    things = [Thing(NOUNS[n], COLOUR_NAMES[c]) for n, c in truth[:4].reshape(2, 2) if n >= 0]
    return Caption(tuple(things), RELATION_NAMES[truth[4]])


def targets(masks: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Soft cell labels (B, classes + 1, 16, 16) from coverages (B, 2, 16, 16) and class indices (B, 2), -1 for none.

    Coverage counts double, up to 1: a thin object covers few cells by half.
    """
    cover = (2 * masks).clamp(max=1) * (labels >= 0)[:, :, None, None]
    cover = cover / cover.sum(1, keepdim=True).clamp(min=1)
    one_hot = F.one_hot(labels.clamp(min=0), classes).float()
    inside = torch.einsum("bkhw,bkc->bchw", cover, one_hot)
    return torch.cat([inside, 1 - inside.sum(1, keepdim=True)], 1)


def practise(pictures: torch.Tensor, labels: torch.Tensor, space: stack.PatchPCA, generator: torch.Generator):
    """Augmented pictures (B, 3, 64, 64) and their labels (B, 22, 16, 16), of which the warps, pastes and blends are the same."""
    n, device = len(pictures), pictures.device
    # A weak denoiser paints blobs of the right colour: such a blob is a colour and no noun.
    molten = chosen(n, 0.12, generator)
    grid = torch.lerp(warp_grid(n, generator, 1.0), melt_grid(n, generator), molten)
    warped = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    small = F.interpolate(grid.permute(0, 3, 1, 2), size=CELLS, mode="area").permute(0, 2, 3, 1)
    warped_labels = F.grid_sample(labels, small, padding_mode="border", align_corners=False)
    blob = torch.zeros_like(warped_labels)
    blob[:, len(NOUNS)] = 1
    blob[:, len(NOUNS) + 1 :] = warped_labels[:, len(NOUNS) + 1 :]
    warped_labels = torch.lerp(warped_labels, blob, molten)
    use = torch.maximum(molten, chosen(n, 0.6, generator))
    pictures, labels = torch.lerp(pictures, warped, use), torch.lerp(labels, warped_labels, use)

    other = torch.randperm(n, generator=generator)
    window = torch.zeros(n, 1, CELLS, CELLS)  # a rectangle of cells to be taken from another scene
    corner, side = (
        torch.randint(0, CELLS - 4, (n, 2), generator=generator),
        torch.randint(3, 10, (n, 2), generator=generator),
    )
    for i in range(n):
        (y, x), (h, w) = corner[i].tolist(), side[i].tolist()
        window[i, :, y : y + h, x : x + w] = 1
    pasted, blended = chosen(n, 0.15, generator), chosen(n, 0.1, generator)
    share = window * pasted + (1 - pasted) * blended * uniform(n, 0.1, 0.9, generator)
    fine = share.repeat_interleave(4, 2).repeat_interleave(4, 3)
    pictures, labels = torch.lerp(pictures, pictures[other], fine), torch.lerp(labels, labels[other], share)

    # Holes smaller than an object keep its label, so that it is read as whole.
    holes = (F.interpolate(torch.rand(n, 1, 12, 12, generator=generator), size=64) < 0.06).float() * chosen(
        n, 0.3, generator
    )
    pictures = torch.lerp(pictures, torch.rand(n, 3, 1, 1, generator=generator).expand_as(pictures), holes)
    return appearance(pictures, space, generator).to(device), labels


def report(judge: Judge, space: stack.PatchPCA, args) -> None:
    """Accuracy on fresh scenes: as painted, spoilt, and through the latent space; and how often it finds what is not there."""
    figures = {}
    for name, p_flaw in (("clean", 0.0), ("spoilt", 1.0), ("latent_round_trip", 0.0)):
        fresh = pool(args.cache, 1000, seed=8 + int(p_flaw), p_flaw=p_flaw)
        pictures = to_pictures(torch.from_numpy(fresh["pictures"]))
        if name == "latent_round_trip":
            generator = torch.Generator().manual_seed(0)
            pictures = appearance(pictures, space, generator, 1.0)
        seen = [s for part in pictures.split(100) for s in judge.read(part.to(args.device))]
        wanted = [caption_of(row) for row in fresh["truth"]]
        verdicts = [satisfied(caption, s) for caption, s in zip(wanted, seen, strict=True)]
        relations = [v.relation for v in verdicts if v.relation is not None]
        swapped = [
            satisfied(Caption((Thing(a.noun, b.colour), Thing(b.noun, a.colour)), c.relation), s).correct
            for c, s in zip(wanted, seen, strict=True)
            if len(c.things) == 2 and c.things[0].colour != c.things[1].colour
            for a, b in [c.things]
        ]
        exact = [
            {(t.noun, t.colour) for t in c.things} == {(x.noun, x.colour) for x in s}
            for c, s in zip(wanted, seen, strict=True)
        ]
        figures[name] = {
            "correct": float(np.mean([v.correct for v in verdicts])),
            "objects": float(np.mean([v.objects for v in verdicts])),
            "relation": round(float(np.mean(relations)), 4),
            "exactly_these": float(np.mean(exact)),
            "swapped_colours_accepted": round(float(np.mean(swapped)), 4),
        }
    record(judge=figures)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=1150)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3)
    args = parser.parse_args()
    begin(args)
    scenes = pool(args.cache, SCENES, seed=args.seed, p_flaw=0.5)
    space = stack.PatchPCA(**torch.load(args.cache / "pca.pt", weights_only=True))
    pictures, masks = torch.from_numpy(scenes["pictures"]), torch.from_numpy(scenes["masks"])
    truth = torch.from_numpy(scenes["truth"]).long()
    judge = Judge().to(args.device, memory_format=torch.channels_last)

    def losses(generator: torch.Generator, step: int) -> dict[str, torch.Tensor]:
        pick = torch.randint(0, SCENES, (args.batch,), generator=generator)
        cover = masks[pick].float() / 255
        labels = torch.cat(
            [targets(cover, truth[pick, 0:4:2], len(NOUNS)), targets(cover, truth[pick, 1:4:2], len(COLOUR_NAMES))], 1
        )
        x, labels = practise(to_pictures(pictures[pick]), labels, space, generator)
        noun, colour = judge(x.to(args.device).contiguous(memory_format=torch.channels_last))
        nouns, colours = labels.to(args.device).split([len(NOUNS) + 1, len(COLOUR_NAMES) + 1], 1)
        return {"noun": F.cross_entropy(noun, nouns), "colour": F.cross_entropy(colour, colours)}

    fit("judge", judge, losses, args, steps=args.steps, lr=args.lr)
    report(judge, space, args)


if __name__ == "__main__":
    main()
