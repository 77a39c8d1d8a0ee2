"""A semantic graph as a drawing: things in a column, their attributes beside them, relations as arcs on the left."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from ..prompt.graph import Attribute, Entity, SemanticGraph, Span
    from ..prompt.tokens import TokenPairs

_ROW, _TOP, _BOX, _GAP = 64, 84, 36, 12
_LETTER = 8.4
"""Pixels of a letter at 15 px, widely."""
_STYLE = (
    "text{font:15px system-ui,sans-serif;fill:#222}.s{font-size:11px;fill:#777}.p{font-weight:600}"
    ".e{fill:#d8ecfb;stroke:#2b7bb9}.a{fill:#e2f3dd;stroke:#4b9b3a}.r{fill:none;stroke:#c98a1b;stroke-width:1.5}"
    ".g{fill:#8b5a00;font-size:13px}"
)


def draw(graph: SemanticGraph, pairs: TokenPairs | None = None) -> str:
    """The graph as an SVG document; with pairs, token positions stand under the words."""
    positions = _positions(graph, pairs)
    left = 40 + 28 * len(graph.relations) + max((_width(r.text) for r in graph.relations), default=0)
    parts, right = [], left + _width(graph.prompt)
    for n, entity in enumerate(graph.entities):
        x, y = float(left), _TOP + n * _ROW
        words: list[tuple[str, Entity | Attribute]] = [("e", entity), *(("a", a) for a in entity.attributes)]
        for kind, word in words:
            parts.append(_box(kind, x, y, word.text, positions.get(word.span)))
            x += _width(word.text) + _GAP
        right = max(right, x)
    for n, relation in enumerate(graph.relations):
        parts.append(_arc(n, left, relation.subject, relation.object, relation.text))
    bottom = _TOP + len(graph.entities) * _ROW
    if graph.style:
        style = "style: " + ", ".join(graph.style)
        parts.append(_text(left, bottom + 16, style, "s"))
        right = max(right, left + _width(style))
    if not graph.entities:
        parts.append(_text(left, _TOP, "names nothing", "s"))
    width, height = round(right + 24), bottom + 40
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f"<style>{_STYLE}</style>"
        '<defs><marker id="to" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#c98a1b"/></marker></defs>'
        f'<rect width="{width}" height="{height}" fill="#fff"/>'
        + _text(left, 36, graph.prompt, "p")
        + "".join(parts)
        + "</svg>\n"
    )


def _positions(graph: SemanticGraph, pairs: TokenPairs | None) -> dict[Span, tuple[int, ...]]:
    from ..prompt.tokens import positions_by_span

    return {} if pairs is None else positions_by_span(graph, pairs)


def _width(text: str) -> float:
    return len(text) * _LETTER + 24


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    # What XML forbids even when escaped.
    plain = "".join(
        letter if letter >= " " and letter not in "\ufffe\uffff" and not "\ud800" <= letter <= "\udfff" else " "
        for letter in text
    )
    return f'<text x="{x:.0f}" y="{y:.0f}"' + (f' class="{kind}"' if kind else "") + f">{escape(plain)}</text>"


def _box(kind: str, x: float, y: float, text: str, positions: tuple[int, ...] | None) -> str:
    box = f'<rect class="{kind}" x="{x:.0f}" y="{y:.0f}" width="{_width(text):.0f}" height="{_BOX}" rx="8"/>'
    below = "" if positions is None else _text(x + 12, y + _BOX + 14, "tokens " + ", ".join(map(str, positions)), "s")
    return box + _text(x + 12, y + 23, text) + below


def _arc(n: int, left: float, subject: int, object_: int, text: str) -> str:
    start, end = (_TOP + place * _ROW + _BOX / 2 for place in (subject, object_))
    # Two arcs between the same things do not lie on each other.
    far = left - 28 * (n + 1)
    bend = f"M{left:.0f} {start + 4:.0f}C{far:.0f} {start:.0f} {far:.0f} {end:.0f} {left:.0f} {end - 4:.0f}"
    path = f'<path class="r" d="{bend}" marker-end="url(#to)"/>'
    return path + _text(max(8, far - _width(text) + 40), (start + end) / 2 + 5, text, "g")
