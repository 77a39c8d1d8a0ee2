"""Fetch the emoji of the miniature's nouns from the npm registry, render and recolour them.

They are Microsoft's Fluent Emoji (MIT), flat, as packed in `@lobehub/fluent-emoji-flat` (MIT).
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

from dymo.miniature.world import COLOURS

PACKAGE = "@lobehub/fluent-emoji-flat@1.1.0"
CODEPOINTS = {
    "anchor": "2693", "apple": "1f34e", "bell": "1f514", "boat": "26f5", "car": "1f697", "cat": "1f431", "chair": "1fa91",
    "crown": "1f451", "duck": "1f986", "fish": "1f41f", "hat": "1f3a9", "heart": "2764-fe0f", "house": "1f3e0", "key": "1f511",
    "lock": "1f512", "moon": "1f319", "shirt": "1f455", "star": "2b50", "tree": "1f333", "umbrella": "2602-fe0f",
}  # fmt: skip
RENDERED = 256
"""Pixels of a rendered emoji's side; sprites are scaled down from it."""


def fetch(cache: Path) -> Path:
    """The package's tarball in `cache`, fetched once through the npm client."""
    cache.mkdir(parents=True, exist_ok=True)
    found = sorted(cache.glob("*fluent-emoji-flat*.tgz"))
    if not found:
        subprocess.run(["npm", "pack", PACKAGE, "--silent"], cwd=cache, check=True, stdout=subprocess.DEVNULL)
        found = sorted(cache.glob("*fluent-emoji-flat*.tgz"))
    return found[0]


def sprites(cache: Path) -> dict[str, Image.Image]:
    """noun -> RGBA image, cropped to what is not transparent."""
    loaded = {}
    with tarfile.open(fetch(cache)) as archive:
        for noun, codepoint in CODEPOINTS.items():
            member = archive.extractfile(f"package/assets/{codepoint}.svg")
            if member is None:
                raise FileNotFoundError(f"{PACKAGE} has no {codepoint}.svg for {noun!r}")
            png = bytes(resvg_py.svg_to_bytes(svg_string=member.read().decode(), width=RENDERED, height=RENDERED))
            image = Image.open(io.BytesIO(png)).convert("RGBA")
            loaded[noun] = image.crop(image.getchannel("A").point(lambda a: 255 * (a > 16)).getbbox())
    return loaded


def recolour(sprite: Image.Image, colour: str) -> Image.Image:
    """The RGBA sprite's shading on the named colour: shadows towards black, lights towards white."""
    rgba = np.asarray(sprite, np.float32) / 255
    light = rgba[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
    low, mid, high = np.percentile(light[rgba[..., 3] > 0.5], [2, 50, 98])
    # The median luminance takes the plain colour; the rest keeps a part of its contrast around it.
    shade = np.where(light < mid, (light - mid) / max(mid - low, 0.15), (light - mid) / max(high - mid, 0.15))
    shade = shade.clip(-1, 1)
    base = np.array(COLOURS[colour], np.float32) / 255
    dark = base * (1 + 0.55 * shade.clip(max=0))[..., None]
    rgb = dark + (1 - dark) * (0.35 * shade.clip(min=0))[..., None]
    return Image.fromarray((np.concatenate([rgb, rgba[..., 3:]], -1) * 255).round().astype(np.uint8), "RGBA")
