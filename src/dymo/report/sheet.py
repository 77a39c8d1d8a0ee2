"""The contact sheet: a row a prompt, its images side by side under the columns' names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

SMALL = 128
"""Images with a longer side up to this, in pixels, are enlarged by a whole factor."""
_PAPER, _INK, _FAINT, _GOOD, _BAD = "#ffffff", "#1c1c1e", "#6e6e73", "#1a7f37", "#b3261e"
_MARGIN, _GAP, _CAPTION, _LONG = 24, 10, 190, 340


@dataclass(frozen=True)
class Row:
    """One prompt with its images."""

    caption: str
    images: Sequence[Image.Image]
    note: str = ""
    """A fainter line under the caption, as "seed 3"."""
    correct: Sequence[bool | None] | None = None
    """For each image whether it shows what the caption says; draws a tick or a cross. None draws nothing."""


def contact_sheet(columns: Sequence[str], rows: Sequence[Row], panels: int = 1, image_size: int | None = None) -> Image.Image:
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
    size = image_size or _default_size([image for row in rows for image in row.images])
    text, small, head = _font(15), _font(13), _font(15, bold=True)
    side = _LONG if any(text.getlength(row.caption) > 4 * _CAPTION for row in rows) else _CAPTION
    captions = [_wrapped(row.caption, text, side - _GAP) for row in rows]
    heads = [_wrapped(name, head, size) for name in columns]
    heights = [
        max(size, _line(text) * len(lines) + (_line(small) if row.note else 0))
        for row, lines in zip(rows, captions, strict=True)
    ]
    panels = max(1, min(panels, len(rows)))
    depth = math.ceil(len(rows) / panels)
    panel_width = side + len(columns) * (size + _GAP)
    top = _MARGIN + _line(head) * max(map(len, heads), default=1) + _GAP
    tallest = max(sum(h + _GAP for h in heights[p * depth : (p + 1) * depth]) for p in range(panels))
    sheet = Image.new("RGB", (2 * _MARGIN + panels * panel_width + (panels - 1) * _MARGIN, top + tallest + _MARGIN - _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)

    for panel in range(panels):
        left, y = _MARGIN + panel * (panel_width + _MARGIN), top
        for i, lines in enumerate(heads):
            middle = left + side + i * (size + _GAP) + size // 2
            for k, line in enumerate(reversed(lines), 1):
                draw.text((middle, top - _GAP - k * _line(head)), line, fill=_INK, font=head, anchor="ma")
        for n in range(panel * depth, min((panel + 1) * depth, len(rows))):
            row, lines = rows[n], captions[n]
            for i, line in enumerate(lines):
                draw.text((left, y + i * _line(text)), line, fill=_INK, font=text)
            if row.note:
                draw.text((left, y + len(lines) * _line(text)), row.note, fill=_FAINT, font=small)
            for i, image in enumerate(row.images):
                x = left + side + i * (size + _GAP)
                fitted = _fitted(image, size)
                sheet.paste(fitted, (x + (size - fitted.width) // 2, y + (size - fitted.height) // 2))
                if row.correct and row.correct[i] is not None:
                    _badge(draw, x + size - 24, y + size - 24, bool(row.correct[i]))
            y += heights[n] + _GAP
    return sheet


def _default_size(images: Sequence[Image.Image]) -> int:
    """Side of the square: small images three times their size (64 -> 192), large ones at most 384."""
    longest = max(max(image.size) for image in images)
    return longest * max(2, min(3, 256 // longest)) if longest <= SMALL else min(longest, 384)


def _fitted(image: Image.Image, size: int) -> Image.Image:
    image = image.convert("RGB")
    longest = max(image.size)
    if longest <= SMALL and size >= longest:
        factor = size // longest
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    scale = size / longest
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS)


def _badge(draw: ImageDraw.ImageDraw, x: int, y: int, good: bool) -> None:
    """A tick or a cross in a disc: shape as well as colour, for those who see no difference in the latter."""
    draw.ellipse((x, y, x + 18, y + 18), fill=_GOOD if good else _BAD, outline=_PAPER, width=1)
    strokes = ((4, 9, 8, 13, 14, 5),) if good else ((5, 5, 13, 13), (13, 5, 5, 13))
    for stroke in strokes:
        draw.line([(x + dx, y + dy) for dx, dy in zip(stroke[::2], stroke[1::2], strict=True)], fill=_PAPER, width=2)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines of at most `width` pixels, at spaces where there are any."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if font.getlength(joined) <= width:
            lines[-1] = joined
            continue
        lines += [""] if lines[-1] else []
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


def _line(font: ImageFont.FreeTypeFont) -> int:
    """Height of a line, in pixels."""
    return round(font.size * 1.35)


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    # matplotlib brings a font with most scripts' letters, so that the sheet looks the same on every machine.
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
