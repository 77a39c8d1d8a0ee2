"""One image for a first look: a contact sheet, a plot beside it, and what they come to in a line."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw

from .sheet import FAINT, INK, PAPER, font, wrapped

_MARGIN, _LINE = 24, 24


def beside(sheet: Image.Image, plot: bytes, caption: str, title: str) -> Image.Image:
    """`sheet` with a PNG `plot` under `title` to its right, as high as the sheet at most, and `caption` below both."""
    drawn = Image.open(io.BytesIO(plot)).convert("RGB")
    drawn.thumbnail((drawn.width, sheet.height - 3 * _MARGIN), Image.Resampling.LANCZOS)
    width = sheet.width + drawn.width + _MARGIN
    lines = wrapped(caption, font(17), width - 2 * _MARGIN)
    made = Image.new("RGB", (width, sheet.height + _LINE * len(lines) + _MARGIN), PAPER)
    made.paste(sheet, (0, 0))
    draw = ImageDraw.Draw(made)
    draw.text((sheet.width, _MARGIN), title, FAINT, font(13))
    made.paste(drawn, (sheet.width, 2 * _MARGIN))
    draw.multiline_text((_MARGIN, sheet.height), "\n".join(lines), INK, font(17), spacing=6)
    return made
