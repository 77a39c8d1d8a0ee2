"""Fetch the emoji of the miniature's nouns from the npm registry and recolour them.

The pictures are Microsoft's Fluent Emoji (MIT), as packed in `@lobehub/fluent-emoji-3d` (MIT).
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from dymo.miniature.world import COLOURS, NOUNS

PACKAGE = "@lobehub/fluent-emoji-3d@1.1.0"
CODEPOINTS = {
    "apple": "1f34e", "bell": "1f514", "car": "1f697", "cat": "1f431", "fish": "1f41f", "hat": "1f3a9",
    "heart": "2764-fe0f", "key": "1f511", "shirt": "1f455", "star": "2b50", "tree": "1f333", "umbrella": "2602-fe0f",
}  # fmt: skip


def fetch(cache: Path) -> Path:
    """The package's tarball in `cache`, fetched once through the npm client."""
    cache.mkdir(parents=True, exist_ok=True)
    found = sorted(cache.glob("*fluent-emoji-3d*.tgz"))
    if not found:
        subprocess.run(["npm", "pack", PACKAGE, "--silent"], cwd=cache, check=True, stdout=subprocess.DEVNULL)
        found = sorted(cache.glob("*fluent-emoji-3d*.tgz"))
    return found[0]


def sprites(cache: Path) -> dict[str, Image.Image]:
    """noun -> RGBA picture, cropped to what is not transparent."""
    loaded = {}
    with tarfile.open(fetch(cache)) as archive:
        for noun in NOUNS:
            data = archive.extractfile(f"package/assets/{CODEPOINTS[noun]}.webp")
            picture = Image.open(io.BytesIO(data.read())).convert("RGBA")
            loaded[noun] = picture.crop(picture.getchannel("A").point(lambda a: 255 * (a > 16)).getbbox())
    return loaded


@cache
def recolour(sprite_bytes: bytes, size: tuple[int, int], colour: str) -> np.ndarray:
    """(h, w, 4) float32 in [0, 1]: the sprite's shading on the named colour (shadows to black, lights to white)."""
    rgba = np.frombuffer(sprite_bytes, np.uint8).reshape(size[1], size[0], 4).astype(np.float32) / 255
    light = rgba[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
    inside = rgba[..., 3] > 0.5
    low, mid, high = np.percentile(light[inside], [2, 50, 98])
    # The median luminance takes the plain colour; the rest keeps a part of its contrast around it.
    shade = np.where(light < mid, (light - mid) / max(mid - low, 0.15), (light - mid) / max(high - mid, 0.15)).clip(
        -1, 1
    )
    base = np.array(COLOURS[colour], np.float32) / 255
    dark = base * (1 + 0.55 * shade.clip(max=0))[..., None]
    rgb = dark + (1 - dark) * (0.35 * shade.clip(min=0))[..., None]
    return np.concatenate([rgb, rgba[..., 3:]], -1)
