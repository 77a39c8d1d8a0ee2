"""Compose scenes of recoloured emoji with their truth: caption, masks, and how spoilt the image is."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from dymo.miniature.world import COLOURS, MOST, NOUNS, TRAINED_THINGS, Caption, sample_caption, split_of

from .emoji import recolour, sprites

SIZE = 128
GRID = 16
FLAWS = ("blur", "noise", "dull", "framing")
SIDES = {1: (56, 76), 2: (46, 58), 3: (38, 46)}
"""Of an object's longer side in pixels, by the number of objects: the least and the most."""
GAP = 4
"""Pixels between two objects' boxes, at least."""
COLOUR_NAMES = tuple(COLOURS)

Place = tuple[float, float]


@dataclass
class Scene:
    """An image (128, 128, 3) uint8; per object its coverage (n, 16, 16) in [0, 1]; the flaw or None."""

    image: np.ndarray
    masks: np.ndarray
    caption: Caption
    flaw: str | None


def stands(relation: str, first: Place, other: Place) -> bool:
    """Whether two centres (x, y) stand so: along the relation's axis, and not farther across it."""
    dx, dy = other[0] - first[0], other[1] - first[1]
    along, across = {
        "and": (1.0, 0.0),
        "to the left of": (dx, dy),
        "to the right of": (-dx, dy),
        "above": (dy, dx),
        "below": (-dy, dx),
        "next to": (abs(dx), 2.5 * dy),
    }[relation]
    return along >= abs(across)


class Composer:
    """Composes captions into scenes; every draw comes from the `random.Random` it is given."""

    def __init__(self, cache: Path):
        self.tinted = {
            (noun, colour): recolour(image, colour) for noun, image in sprites(cache).items() for colour in COLOURS
        }
        self.scaled: dict[tuple[str, str, int], Image.Image] = {}

    def sprite(self, noun: str, colour: str, side: int) -> Image.Image:
        key = (noun, colour, side)
        if key not in self.scaled:
            source = self.tinted[noun, colour]
            scale = side / max(source.size)
            new = (max(1, round(source.width * scale)), max(1, round(source.height * scale)))
            self.scaled[key] = source.resize(new, Image.Resampling.LANCZOS)
        return self.scaled[key]

    def places(self, caption: Caption, boxes: list[tuple[int, int]], rng: random.Random, framing: bool) -> list[Place]:
        """Centres (x, y) in pixels of boxes (w, h): apart, inside the image, and as the caption's relation says.

        Badly framed scenes have objects that hang over the border by up to half.
        """
        instances = caption.instances

        def inside(box: tuple[int, int]) -> Place:
            slack = 0.0 if framing else 0.5
            w, h = box[0] * slack, box[1] * slack
            return rng.uniform(w, SIZE - w), rng.uniform(h, SIZE - h)

        def apart(i: int, j: int, at: list[Place]) -> bool:
            (ax, ay), (bx, by) = at[i], at[j]
            return (
                abs(ax - bx) >= (boxes[i][0] + boxes[j][0]) / 2 + GAP
                or abs(ay - by) >= (boxes[i][1] + boxes[j][1]) / 2 + GAP
            )

        def right(i: int, j: int, at: list[Place]) -> bool:
            return instances[i] != 0 or instances[j] == 0 or stands(caption.relation, at[i], at[j])

        while True:
            # One object after the other, each tried a few times: much quicker than all anew.
            at: list[Place] = []
            for k, box in enumerate(boxes):
                for _ in range(12):
                    at.append(inside(box))
                    if all(apart(j, k, at) and right(j, k, at) for j in range(k)):
                        break
                    at.pop()
                if len(at) == k:
                    break
            if len(at) == len(boxes):
                cut = any(min(x, y, SIZE - x, SIZE - y) < 0.2 * max(b) for (x, y), b in zip(at, boxes, strict=True))
                if cut == framing:
                    return at

    def background(self, rng: random.Random) -> np.ndarray:
        """(128, 128, 3) float: a soft gradient between two greyish pastels."""

        def tone() -> np.ndarray:
            grey = rng.uniform(120, 205)
            return np.array([grey + rng.uniform(-22, 22) for _ in range(3)], np.float32)

        a, b, angle = tone(), tone(), rng.uniform(0, 2 * np.pi)
        ramp = np.linspace(-0.5, 0.5, SIZE, dtype=np.float32)
        t = (np.cos(angle) * ramp[None, :] + np.sin(angle) * ramp[:, None]) / 1.42 + 0.5
        return a + (b - a) * t[..., None]

    def compose(self, caption: Caption, rng: random.Random, flaw: str | None = None) -> Scene:
        """One scene of `caption`; its relation holds by construction."""
        things = [caption.things[i] for i in caption.instances]
        least, most = SIDES[len(things)]
        drawn = [self.sprite(thing.noun, thing.colour, rng.randint(least, most)) for thing in things]
        canvas = self.background(rng)
        masks: list[np.ndarray] = []
        for sprite, (x, y) in zip(
            drawn, self.places(caption, [s.size for s in drawn], rng, flaw == "framing"), strict=True
        ):
            layer = Image.new("RGBA", (SIZE, SIZE))
            layer.paste(sprite, (round(x - sprite.width / 2), round(y - sprite.height / 2)))
            rgba = np.asarray(layer, np.float32)
            alpha = rgba[..., 3:] / 255
            canvas = canvas * (1 - alpha) + rgba[..., :3] * alpha
            masks.append(alpha[..., 0])
        coverage = np.stack([m.reshape(GRID, SIZE // GRID, GRID, SIZE // GRID).mean((1, 3)) for m in masks])
        return Scene(spoil(canvas, flaw, rng), coverage, caption, flaw)


def spoil(canvas: np.ndarray, flaw: str | None, rng: random.Random) -> np.ndarray:
    """The finished uint8 image, with a flaw put in ("framing" is already in the canvas)."""
    strength = rng.uniform(0.5, 1.0)
    if flaw == "blur":
        image = Image.fromarray(canvas.clip(0, 255).astype(np.uint8))
        canvas = np.asarray(image.filter(ImageFilter.GaussianBlur(2 + 3.5 * strength)), np.float32)
    elif flaw == "noise":
        noise = np.random.default_rng(rng.getrandbits(32))
        coarse = noise.normal(0, 18 * strength, (SIZE // 8, SIZE // 8, 3)).repeat(8, 0).repeat(8, 1)
        canvas = canvas + coarse + noise.normal(0, 16 * strength, canvas.shape)
    elif flaw == "dull":
        grey = canvas.mean(-1, keepdims=True)
        canvas = 150 + ((grey + (canvas - grey) * (1 - 0.6 * strength)) - 150) * (1 - 0.35 * strength)
    return canvas.clip(0, 255).astype(np.uint8)


def padded(scene: Scene) -> tuple[np.ndarray, list[int], list[int]]:
    """Masks (3, 16, 16) uint8 and, for each of three objects, its noun and colour, -1 where there is none."""
    masks = np.zeros((MOST, GRID, GRID), np.uint8)
    masks[: len(scene.masks)] = (scene.masks * 255).round()
    things = [scene.caption.things[i] for i in scene.caption.instances]
    pad = [-1] * (MOST - len(things))
    return masks, [NOUNS.index(t.noun) for t in things] + pad, [COLOUR_NAMES.index(t.colour) for t in things] + pad


def training_caption(rng: random.Random) -> Caption:
    """A caption of the train split over the things of training."""
    while True:
        caption = sample_caption(rng, TRAINED_THINGS)
        if split_of(caption) == "train":
            return caption


def stored(
    path: Path,
    n: int,
    seed: str,
    composer: Callable[[], Composer],
    draw: Callable[[random.Random], tuple[Caption, str | None]],
) -> dict[str, np.ndarray]:
    """`n` scenes of drawn captions and flaws as arrays, kept on disk at `path`.

    images (n, 128, 128, 3) uint8; masks (n, 3, 16, 16) uint8; nouns, colours (n, 3) int8, -1 for no object;
    flaw (n,) int8, -1 for none; captions (n,) of str.
    """
    if not path.exists():
        made, rng = composer(), random.Random(seed)
        arrays = {
            "images": np.zeros((n, SIZE, SIZE, 3), np.uint8), "masks": np.zeros((n, MOST, GRID, GRID), np.uint8),
            "nouns": np.zeros((n, MOST), np.int8), "colours": np.zeros((n, MOST), np.int8), "flaw": np.zeros(n, np.int8),
        }  # fmt: skip
        texts = []
        for i in range(n):
            caption, flaw = draw(rng)
            scene = made.compose(caption, rng, flaw)
            arrays["images"][i] = scene.image
            arrays["masks"][i], arrays["nouns"][i], arrays["colours"][i] = padded(scene)
            arrays["flaw"][i] = -1 if scene.flaw is None else FLAWS.index(scene.flaw)
            texts.append(scene.caption.text)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, **arrays, captions=np.array(texts))
        partial.rename(path)
    return dict(np.load(path))


def dataset(cache: Path, n: int, seed: int, p_flaw: float = 0.1) -> dict[str, np.ndarray]:
    """`n` training scenes, a share `p_flaw` of them spoilt by any flaw but noise (see `stored`)."""

    def draw(rng: random.Random) -> tuple[Caption, str | None]:
        return training_caption(rng), rng.choice(("blur", "dull", "framing")) if rng.random() < p_flaw else None

    return stored(cache / f"scenes-{n}-{seed}-{p_flaw}.npz", n, f"scenes-{seed}", lambda: Composer(cache), draw)
