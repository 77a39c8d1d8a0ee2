"""The images as raters get them: nothing in a name or in a file says what made them."""

from __future__ import annotations

import hashlib
import hmac
import io
import random
from pathlib import Path

from PIL import Image, ImageFilter

from .design import Trial

TILES = 6


def blind_name(secret: str, rater: str, trial: Trial, place: int) -> str:
    """The name of the image at a place (0 or 1, as shown) of a trial: the same at each call, and telling nothing."""
    text = f"{rater}/{trial.mark}/{place}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()[:32]


def bare_png(path: Path, broken: bool = False) -> bytes:
    """The pixels of an image file without the texts that it carries; `broken`: cut into tiles that are mixed and blurred."""
    with Image.open(path) as held:
        image = held.convert("RGB")
    if broken:
        image = _broken(image)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _broken(image: Image.Image) -> Image.Image:
    width, height = image.size
    xs, ys = ([side * n // TILES for n in range(TILES + 1)] for side in (width, height))
    places = [(column, row) for row in range(TILES) for column in range(TILES)]
    mixed = list(places)
    random.Random(0).shuffle(mixed)
    found = Image.new("RGB", image.size)
    for (column, row), (from_column, from_row) in zip(places, mixed, strict=True):
        box = xs[from_column], ys[from_row], xs[from_column + 1], ys[from_row + 1]
        tile = image.crop(box).rotate(180).resize((xs[column + 1] - xs[column], ys[row + 1] - ys[row]))
        found.paste(tile, (xs[column], ys[row]))
    return found.filter(ImageFilter.GaussianBlur(max(1, width / 48)))
