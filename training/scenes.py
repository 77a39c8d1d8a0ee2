"""Compose scenes of recoloured emoji with their truth: caption, masks, and how spoilt the picture is."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from dymo.miniature.world import COLOURS, NOUNS, TRAINED_THINGS, Caption, sample_caption, split_of

from .emoji import recolour, sprites

SIZE = 64
GRID = 16
FLAWS = ("blur", "noise", "dull", "framing")


@dataclass
class Scene:
    """A picture (64, 64, 3) uint8; per thing its coverage (n, 16, 16) in [0, 1]; the flaw or None."""

    picture: np.ndarray
    masks: np.ndarray
    caption: Caption
    flaw: str | None


class Painter:
    """Paints captions; every draw comes from the `random.Random` it is given."""

    def __init__(self, cache: Path):
        self.sprites = {noun: picture for noun, picture in sprites(cache).items()}
        self.scaled: dict[tuple[str, str, int], Image.Image] = {}

    def sprite(self, noun: str, colour: str, size: int) -> Image.Image:
        key = (noun, colour, size)
        if key not in self.scaled:
            source = self.sprites[noun]
            tinted = Image.fromarray((recolour(source.tobytes(), source.size, colour) * 255).astype(np.uint8), "RGBA")
            scale = size / max(source.size)
            new = (max(1, round(source.width * scale)), max(1, round(source.height * scale)))
            self.scaled[key] = tinted.resize(new, Image.Resampling.LANCZOS)
        return self.scaled[key]

    def places(
        self, caption: Caption, sizes: list[int], rng: random.Random, framing: bool
    ) -> list[tuple[float, float]]:
        """Centres (x, y) in pixels that make the caption's relation true; badly framed ones hang over the border."""
        if len(sizes) == 1:
            margin = 0 if framing else sizes[0] / 2
            if framing:  # cut by one border
                x, y = rng.choice(
                    [
                        (0, rng.uniform(16, 48)),
                        (SIZE, rng.uniform(16, 48)),
                        (rng.uniform(16, 48), 0),
                        (rng.uniform(16, 48), SIZE),
                    ]
                )
                return [(x, y)]
            return [(rng.uniform(margin, SIZE - margin), rng.uniform(margin, SIZE - margin))]
        relation = caption.relation
        if relation == "and":
            relation = rng.choice(("to the left of", "to the right of", "above", "below"))
        if relation == "next to":
            relation, drift = rng.choice(("to the left of", "to the right of")), 2.0
        else:
            drift = 8.0
        half = [s / 2 for s in sizes]
        near, far = (2.0, 62.0) if framing else (half[0], SIZE - half[1])
        # Along the relation's axis: first low, second high, without overlap; across it: free within the drift.
        gap = half[0] + half[1] + 0.5
        slack = max(0.0, far - near - gap)
        low = near + rng.uniform(0, slack / 2)
        high = max(low + gap, far - rng.uniform(0, slack / 2)) if not framing else far
        centre = rng.uniform(max(half), SIZE - max(half))
        across = [min(max(centre + rng.uniform(-drift, drift), h), SIZE - h) for h in half]
        if relation == "to the left of":
            return [(low, across[0]), (high, across[1])]
        if relation == "above":
            return [(across[0], low), (across[1], high)]
        # The mirrored relations: the first thing takes the high place.
        low2, high2 = SIZE - high, SIZE - low
        return (
            [(high2, across[0]), (low2, across[1])]
            if relation == "to the right of"
            else [(across[0], high2), (across[1], low2)]
        )

    def background(self, rng: random.Random) -> np.ndarray:
        """(64, 64, 3) float: a soft gradient between two greyish pastels."""

        def tone() -> np.ndarray:
            grey = rng.uniform(120, 205)
            return np.array([grey + rng.uniform(-22, 22) for _ in range(3)], np.float32)

        a, b, angle = tone(), tone(), rng.uniform(0, 2 * np.pi)
        ramp = np.linspace(-0.5, 0.5, SIZE, dtype=np.float32)
        t = (np.cos(angle) * ramp[None, :] + np.sin(angle) * ramp[:, None]) / 1.42 + 0.5
        return a + (b - a) * t[..., None]

    def paint(self, caption: Caption, rng: random.Random, flaw: str | None = None) -> Scene:
        """One scene of `caption`; the relation holds by construction."""
        one = len(caption.things) == 1
        sizes = [rng.randint(34, 46) if one else rng.randint(25, 30) for _ in caption.things]
        canvas = self.background(rng)
        masks = []
        for thing, size, (x, y) in zip(
            caption.things, sizes, self.places(caption, sizes, rng, flaw == "framing"), strict=True
        ):
            sprite = self.sprite(thing.noun, thing.colour, size)
            layer = Image.new("RGBA", (SIZE, SIZE))
            layer.paste(sprite, (round(x - sprite.width / 2), round(y - sprite.height / 2)))
            rgba = np.asarray(layer, np.float32)
            alpha = rgba[..., 3:] / 255
            canvas = canvas * (1 - alpha) + rgba[..., :3] * alpha
            masks = [m * (1 - alpha[..., 0]) for m in masks] + [alpha[..., 0]]
        coverage = np.stack([m.reshape(GRID, SIZE // GRID, GRID, SIZE // GRID).mean((1, 3)) for m in masks])
        return Scene(spoil(canvas, flaw, rng), coverage, caption, flaw)


def spoil(canvas: np.ndarray, flaw: str | None, rng: random.Random) -> np.ndarray:
    """The finished uint8 picture, with a flaw put in ("framing" is already in the canvas)."""
    strength = rng.uniform(0.5, 1.0)
    if flaw == "blur":
        picture = Image.fromarray(canvas.clip(0, 255).astype(np.uint8))
        canvas = np.asarray(picture.filter(ImageFilter.GaussianBlur(1 + 2 * strength)), np.float32)
    elif flaw == "noise":
        noise = np.random.default_rng(rng.getrandbits(32))
        coarse = noise.normal(0, 18 * strength, (SIZE // 4, SIZE // 4, 3)).repeat(4, 0).repeat(4, 1)
        canvas = canvas + coarse + noise.normal(0, 16 * strength, canvas.shape)
    elif flaw == "dull":
        grey = canvas.mean(-1, keepdims=True)
        canvas = 150 + ((grey + (canvas - grey) * (1 - 0.6 * strength)) - 150) * (1 - 0.35 * strength)
    return canvas.clip(0, 255).astype(np.uint8)


def dataset(cache: Path, n: int, seed: int, p_flaw: float = 0.5, p_two: float = 0.75) -> dict[str, np.ndarray | list]:
    """`n` training scenes as arrays, kept on disk in `cache` under their parameters.

    pictures (n, 64, 64, 3) uint8; masks (n, 2, 16, 16) uint8; nouns, colours (n, 2) int8, -1 for no second thing;
    flaw (n,) int8, -1 for none; relation (n,) index into ("and", *RELATIONS), -1 for one thing; captions, a list.
    """
    path = cache / f"scenes-{n}-{seed}-{p_flaw}-{p_two}.npz"
    if not path.exists():
        painter, rng = Painter(cache), random.Random(seed)
        columns: dict[str, list] = {k: [] for k in ("pictures", "masks", "nouns", "colours", "flaw", "captions")}
        while len(columns["captions"]) < n:
            caption = sample_caption(rng, TRAINED_THINGS, p_two)
            if len(caption.things) == 2 and split_of(caption) != "train":
                continue
            scene = painter.paint(caption, rng, rng.choice(FLAWS) if rng.random() < p_flaw else None)
            masks = np.zeros((2, GRID, GRID), np.uint8)
            masks[: len(scene.masks)] = (scene.masks * 255).round()
            pad = [-1] * (2 - len(caption.things))
            columns["pictures"].append(scene.picture)
            columns["masks"].append(masks)
            columns["nouns"].append([NOUNS.index(t.noun) for t in caption.things] + pad)
            columns["colours"].append([list(COLOURS).index(t.colour) for t in caption.things] + pad)
            columns["flaw"].append(-1 if scene.flaw is None else FLAWS.index(scene.flaw))
            columns["captions"].append(caption.text)
        small = {
            k: np.array(v) if k in ("pictures", "masks", "captions") else np.array(v, np.int8)
            for k, v in columns.items()
        }
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, **small)
        partial.rename(path)
    return dict(np.load(path))
