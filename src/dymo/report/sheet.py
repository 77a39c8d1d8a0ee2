"""The contact sheet: a row a prompt, its images side by side under the columns' names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from matplotlib.font_manager import FontProperties, findfont
from PIL import Image, ImageDraw, ImageFont, ImageOps

SMALL = 128  # images with a longer side up to this, in pixels, are enlarged by a whole factor
PAPER, INK, FAINT, _GOOD, _BAD = "#ffffff", "#1c1c1e", "#6e6e73", "#1a7f37", "#b3261e"
_MARGIN, _GAP = 24, 10


class Row(NamedTuple):
    """One prompt with its images."""

    caption: str
    images: Sequence[Image.Image]
    note: str = ""  # a fainter line under the caption, as "seed 3"
    correct: Sequence[bool | None] | None = None
    """For each image whether it shows what the caption says; draws a tick or a cross. None draws nothing."""


def contact_sheet(
    columns: Sequence[str], rows: Sequence[Row], panels: int = 1, image_size: int | None = None
) -> Image.Image:
    """The rows under `columns`, in `panels` side by side; every image in a square of `image_size` pixels.

    Small images grow by whole factors with hard edges, large ones shrink smoothly; captions and the columns' names are
    wrapped and never cut. Raises ValueError where a row has another number of images than there are columns, or no row
    is given.
    """
    if not rows:
        raise ValueError("a contact sheet needs at least one row")
    for row in rows:
        if len(row.images) != len(columns):
            raise ValueError(f"{len(row.images)} images for {row.caption!r}, but {len(columns)} columns")
    size = image_size or _default_size(max(max(image.size) for row in rows for image in row.images))
    text, head, line = font(15), font(15, bold=True), 20
    side = 340 if max(text.getlength(row.caption) for row in rows) > 760 else 190
    captions = [wrapped(row.caption, text, side - _GAP) for row in rows]
    heads = [wrapped(name, head, size) for name in columns]
    lengths = [len(lines) + bool(row.note) for row, lines in zip(rows, captions, strict=True)]
    heights = [max(size, line * length) + _GAP for length in lengths]
    depth = math.ceil(len(rows) / min(panels, len(rows)))
    groups = [range(start, min(start + depth, len(rows))) for start in range(0, len(rows), depth)]
    width = side + len(columns) * (size + _GAP) + _MARGIN
    top = _MARGIN + line * max(map(len, heads), default=1) + _GAP
    tallest = max(sum(heights[n] for n in group) for group in groups)
    sheet = Image.new("RGB", (_MARGIN + width * len(groups), top + tallest + _MARGIN - _GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    for panel, group in enumerate(groups):
        left, y = _MARGIN + panel * width, top
        places = [left + side + i * (size + _GAP) for i in range(len(columns))]
        for x, lines in zip(places, heads, strict=True):
            draw.text((x + size // 2, top - _GAP), "\n".join(lines), INK, head, "md", align="center")
        for n in group:
            row = rows[n]
            draw.multiline_text((left, y), "\n".join(captions[n]), INK, text, spacing=6)
            draw.text((left, y + line * len(captions[n])), row.note, FAINT, font(13))
            for i, (x, image) in enumerate(zip(places, row.images, strict=True)):
                sheet.paste(_fitted(image, size), (x, y))
                if row.correct and row.correct[i] is not None:
                    # Shape as well as colour, for those who see no difference in the latter.
                    draw.ellipse((x + size - 26, y + size - 26, x + size - 4, y + size - 4), PAPER)
                    mark, colour = ("✓", _GOOD) if row.correct[i] else ("✗", _BAD)
                    draw.text((x + size - 15, y + size - 15), mark, colour, font(18), "mm")
            y += heights[n]
    return sheet


def _default_size(longest: int) -> int:
    """Side of the square: small images three times their size (64 -> 192), large ones at most 384."""
    return longest * max(2, min(3, 256 // longest)) if longest <= SMALL else min(longest, 384)


def _fitted(image: Image.Image, size: int) -> Image.Image:
    """The image in the middle of a square of `size`."""
    image, longest = image.convert("RGB"), max(image.size)
    if longest > min(SMALL, size):
        return ImageOps.pad(image, (size, size), Image.Resampling.LANCZOS, PAPER)
    image = ImageOps.scale(image, size // longest, Image.Resampling.NEAREST)
    square = Image.new("RGB", (size, size), PAPER)
    square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return square


def wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines of at most `width` pixels, at spaces where there are any."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if font.getlength(joined) <= width:
            lines[-1] = joined
            continue
        lines += [""] if lines[-1] else []
        for letter in word:
            lines += [""] if font.getlength(lines[-1] + letter) > width else []
            lines[-1] += letter
    return lines


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The sheet's font, its size in pixels."""
    # matplotlib brings a font with most scripts' letters, so that the sheet looks the same on every machine.
    return ImageFont.truetype(findfont(FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")), size)
