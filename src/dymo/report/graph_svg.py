"""A semantic graph as an SVG drawing: a row for each entity, with its attributes and what it stands in relation to."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from ..prompt.graph import SemanticGraph
    from ..prompt.tokens import TokenPairs

_WIDTH, _LEFT = 900, 24
_FORBIDDEN = re.compile("[^ -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML does not take even when escaped
_ROW, _BOX, _GAP = 64, 36, 12
_LETTER = 8.8  # pixels of a letter at 15 px, widely; of the letters of other scripts twice as many
_STYLE = (
    "text{font:15px system-ui,sans-serif;fill:#222}.s{font-size:12px;fill:#666}.p{font-weight:600}rect{fill:#fff}"
    ".e{fill:#d8ecfb;stroke:#2b7bb9}.a{fill:#e2f3dd;stroke:#4b9b3a}.r{fill:#fdf1da;stroke:#c98a1b}"
    "@media(prefers-color-scheme:dark){text{fill:#eee}.s{fill:#aaa}rect{fill:#16181c}"
    ".e{fill:#17384f}.a{fill:#1f3d1a}.r{fill:#4a3510}}"
)


def draw(graph: SemanticGraph, pairs: TokenPairs | None = None) -> str:
    """The graph as an SVG document of fixed width, in light or dark as its viewer; with pairs, token positions are added."""
    from ..prompt.tokens import positions_by_span

    positions = {} if pairs is None else positions_by_span(graph, pairs)
    parts: list[str] = []
    y = 20
    for line in _lines(graph.prompt):
        y += 22
        parts.append(_text(_LEFT, y, line, "p"))
    y += 24
    for n, entity in enumerate(graph.entities):
        things = [("e", entity), *(("a", attribute) for attribute in entity.attributes)]
        boxes = [(kind, thing.text, positions.get(thing.span)) for kind, thing in things]
        boxes += [("r", f"{r.text} → {graph.entities[r.object].text}", None) for r in graph.relations if r.subject == n]
        for name, place in (("part of", entity.part_of), ("the same as", entity.same_as)):
            if place is not None:
                boxes.append(("r", f"{name} {graph.entities[place].text}", None))
        x = float(_LEFT)
        for kind, text, tokens in boxes:
            if x > _LEFT and x + _width(text) > _WIDTH - _LEFT:
                x, y = _LEFT + 40.0, y + _ROW
            parts.append(_box(kind, x, y, text, tokens))
            x += _width(text) + _GAP
        y += _ROW
    for line in _lines(f"style: {', '.join(graph.style)}" if graph.style else ""):
        parts.append(_text(_LEFT, y + 12, line, "s"))
        y += 18
    if not graph.entities:
        parts.append(_text(_LEFT, y + 12, "names nothing", "s"))
    height = y + 40
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}">'
        f'<style>{_STYLE}</style><rect width="{_WIDTH}" height="{height}"/>{"".join(parts)}</svg>\n'
    )


def _lines(text: str) -> list[str]:
    wide = sum(map(_wide, text)) / max(1, len(text))
    return textwrap.wrap(text, int((_WIDTH - 2 * _LEFT) / _LETTER / wide)) if text else []


def _wide(letter: str) -> int:
    """Latin letters that a letter is as wide as."""
    return 1 if letter.isascii() else 2


def _width(text: str) -> float:
    """Pixels of a box around a text; one that is longer than a row is cut there."""
    return min(sum(map(_wide, text)) * _LETTER + 24, _WIDTH - 2 * _LEFT - 40)


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}">{escape(_FORBIDDEN.sub(" ", text))}</text>'


def _box(kind: str, x: float, y: float, text: str, positions: tuple[int, ...] | None) -> str:
    width = _width(text)
    box = f'<rect class="{kind}" x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{_BOX}" rx="8"/>'
    below = "" if positions is None else _text(x + 12, y + _BOX + 14, "tokens " + ", ".join(map(str, positions)), "s")
    if len(text) * _LETTER + 24 > width:
        text = text[: int(width / _LETTER) - 3] + "…"
    return box + _text(x + 12, y + 23, text, "n") + below
