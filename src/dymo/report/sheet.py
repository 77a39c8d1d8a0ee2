"""The contact sheet: a row a prompt, its pictures side by side under the columns' names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

SMALL = 128
"""Pictures with a longer side up to this, in pixels, are enlarged by a whole factor."""
_PAPER, _INK, _FAINT, _GOOD, _BAD = "#ffffff", "#1c1c1e", "#6e6e73", "#1a7f37", "#b3261e"
_MARGIN, _GAP, _CAPTION = 24, 10, 190


@dataclass(frozen=True)
class Row:
    """One prompt with its pictures."""

    caption: str
    pictures: Sequence[Image.Image]
    note: str = ""
    """A fainter line under the caption, as "seed 3"."""
    correct: Sequence[bool | None] | None = None
    """For each picture whether it shows what the caption says; draws a tick or a cross. None draws nothing."""


def contact_sheet(
    columns: Sequence[str], rows: Sequence[Row], panels: int = 1, picture_size: int | None = None
) -> Image.Image:
    """The rows under `columns`, in `panels` side by side; every picture in a square of `picture_size` pixels.

    Small pictures grow by whole factors with hard edges, large ones shrink smoothly. Raises ValueError where a row has
    another number of pictures than there are columns, or no row is given.
    """
    if not rows:
        raise ValueError("a contact sheet needs at least one row")
    for row in rows:
        if len(row.pictures) != len(columns):
            raise ValueError(f"{len(row.pictures)} pictures for {row.caption!r}, but {len(columns)} columns")
    size = picture_size or _default_size([picture for row in rows for picture in row.pictures])
    text, small, head = _font(15), _font(13), _font(15, bold=True)
    captions = [_wrapped(row.caption, text, _CAPTION - _GAP) for row in rows]
    heights = [
        max(size, _line(text) * len(lines) + (_line(small) if row.note else 0))
        for row, lines in zip(rows, captions, strict=True)
    ]
    panels = max(1, min(panels, len(rows)))
    depth = math.ceil(len(rows) / panels)
    panel_width = _CAPTION + len(columns) * (size + _GAP)
    top = _MARGIN + _line(head) + _GAP
    tallest = max(sum(h + _GAP for h in heights[p * depth : (p + 1) * depth]) for p in range(panels))
    width = 2 * _MARGIN + panels * panel_width + (panels - 1) * _MARGIN
    sheet = Image.new("RGB", (width, top + tallest + _MARGIN - _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)

    for panel in range(panels):
        left, y = _MARGIN + panel * (panel_width + _MARGIN), top
        for i, name in enumerate(columns):
            middle = left + _CAPTION + i * (size + _GAP) + size // 2
            draw.text((middle, _MARGIN), name, fill=_INK, font=head, anchor="ma")
        for n in range(panel * depth, min((panel + 1) * depth, len(rows))):
            row, lines = rows[n], captions[n]
            for i, line in enumerate(lines):
                draw.text((left, y + i * _line(text)), line, fill=_INK, font=text)
            if row.note:
                draw.text((left, y + len(lines) * _line(text)), row.note, fill=_FAINT, font=small)
            for i, picture in enumerate(row.pictures):
                x = left + _CAPTION + i * (size + _GAP)
                fitted = _fitted(picture, size)
                sheet.paste(fitted, (x + (size - fitted.width) // 2, y + (size - fitted.height) // 2))
                verdict = row.correct[i] if row.correct else None
                if verdict is not None:
                    _badge(draw, x + size - 24, y + size - 24, verdict)
            y += heights[n] + _GAP
    return sheet


def _default_size(pictures: Sequence[Image.Image]) -> int:
    """Side of the square: small pictures three times their size (64 -> 192), large ones at most 384."""
    longest = max(max(picture.size) for picture in pictures)
    return longest * max(2, min(3, 256 // longest)) if longest <= SMALL else min(longest, 384)


def _fitted(picture: Image.Image, size: int) -> Image.Image:
    picture = picture.convert("RGB")
    longest = max(picture.size)
    if longest <= SMALL and size >= longest:
        factor = size // longest
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    scale = size / longest
    fitted = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(fitted, Image.Resampling.LANCZOS)


def _badge(draw: ImageDraw.ImageDraw, x: int, y: int, good: bool) -> None:
    """A tick or a cross in a disc: shape as well as colour, for those who see no difference in the latter."""
    draw.ellipse((x, y, x + 18, y + 18), fill=_GOOD if good else _BAD, outline=_PAPER, width=1)
    if good:
        draw.line([(x + 4, y + 9), (x + 8, y + 13), (x + 14, y + 5)], fill=_PAPER, width=2)
    else:
        draw.line([(x + 5, y + 5), (x + 13, y + 13)], fill=_PAPER, width=2)
        draw.line([(x + 13, y + 5), (x + 5, y + 13)], fill=_PAPER, width=2)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines of at most `width` pixels, at spaces where there are any; at most 8, the last one cut by an ellipsis."""
    lines, line = [], ""
    for word in text.split():
        while font.getlength(word) > width:
            cut = max(1, next(i for i in range(1, len(word) + 1) if font.getlength(word[:i]) > width) - 1)
            if line:
                lines.append(line)
                line = ""
            lines.append(word[:cut])
            word = word[cut:]
        joined = f"{line} {word}".strip()
        if line and font.getlength(joined) > width:
            lines.append(line)
            line = word
        else:
            line = joined
    lines = [*lines, line] if line else lines
    return lines if len(lines) <= 8 else [*lines[:7], lines[7][:-1] + "…"]


def _line(font: ImageFont.FreeTypeFont) -> int:
    """Height of a line, in pixels."""
    return round(font.size * 1.35)


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    # matplotlib brings a font with most scripts' letters, so that the sheet looks the same on every machine.
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
