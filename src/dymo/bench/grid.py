"""The pictures of a run side by side: the same prompts and seeds by every row of the table."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

from ..report.sheet import Row as SheetRow
from ..report.sheet import contact_sheet
from .metrics import JUDGE
from .plan import Plan
from .results import Place, RowResult

WIDE = 8
"""Rows of the table up to which they are the sheet's columns; more stand under one another, the prompts above them."""
DOWN, ACROSS = 12, 6
"""Most prompts on a sheet of either kind."""


def picture_grid(results: Sequence[RowResult], plan: Plan) -> bytes | None:
    """The PNG of the first prompts that every row with a picture has; None where there is none."""
    shown = [r for r in results if r.pictures]
    places = [(p, s) for p in plan.prompts for s in plan.seeds if all((p, s) in r.pictures for r in shown)]
    if not shown or not places:
        return None
    if len(shown) <= WIDE:
        rows = [
            SheetRow(p, [_picture(r, (p, s)) for r in shown], f"seed {s}", [_right(r, (p, s)) for r in shown])
            for p, s in places[:DOWN]
        ]
        drawn = contact_sheet([_short(r.row.name) for r in shown], rows)
    else:
        places = places[:ACROSS]
        rows = [
            SheetRow(r.row.name, [_picture(r, x) for x in places], "", [_right(r, x) for x in places]) for r in shown
        ]
        drawn = contact_sheet([_short(prompt, 20) for prompt, _ in places], rows, panels=2)
    buffer = io.BytesIO()
    drawn.save(buffer, format="PNG")
    return buffer.getvalue()


def _picture(result: RowResult, place: Place) -> Image.Image:
    return Image.open(io.BytesIO(result.pictures[place]))


def _right(result: RowResult, place: Place) -> bool | None:
    value = result.values.get(JUDGE, {}).get(place)
    return None if value is None else bool(value)


def _short(name: str, most: int = 18) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
