"""Plots of a comparison: what a row scores against what it costs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

_BLUE, _ORANGE, _GREY, _INK = "#2a84c4", "#e0701a", "#8a8a8a", "#010203"
_STYLE = "<style>svg{color:#1c1c1e}@media(prefers-color-scheme:dark){svg{color:#e8e8e6}}</style>"


class Point(NamedTuple):
    """A row on the plot."""

    name: str
    cost: float
    score: float
    ours: bool = False


def front(points: Sequence[Point]) -> list[Point]:
    """The points that none beats at the same cost or less, by rising cost."""
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.score)):
        if not found or point.score > found[-1].score:
            found.append(point)
    return found


def pareto_plot(panels: Sequence[tuple[str, Sequence[Point]]], cost: str) -> bytes:
    """The SVG of panels (metric, points) side by side, two a line; the front as a stair. It has its own dark colours.

    A name that would cover another is left out: the front's come first, then ours.
    """
    lines, across = -(-len(panels) // 2), min(2, len(panels))
    figure = Figure(figsize=(6.5 * across, 4.2 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(lines, across, squeeze=False)
    for axis, (metric, points) in zip(grid.flat, panels, strict=False):
        best = front(points)
        axis.patch.set_alpha(0)
        axis.step([p.cost for p in best], [p.score for p in best], where="post", color=_GREY, linewidth=1)
        for ours, colour, marker in ((False, _BLUE, "o"), (True, _ORANGE, "D")):
            chosen = [p for p in points if p.ours == ours]
            places = [p.cost for p in chosen], [p.score for p in chosen]
            axis.scatter(*places, color=colour, marker=marker, s=26, zorder=3)
        if max(p.cost for p in points) > 8 * min(p.cost for p in points):
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
            axis.xaxis.set_minor_formatter(NullFormatter())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.margins(x=0.22, y=0.12)
        axis.set_xlabel(cost, fontsize=9, color=_INK)
        axis.set_title(metric, fontsize=10, color=_INK)
        axis.tick_params(which="both", labelsize=8, color=_INK, labelcolor=_INK)
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(_INK)
    for axis in list(grid.flat)[len(panels) :]:
        axis.set_visible(False)
    figure.draw_without_rendering()  # so that the axes know where a point will be
    for axis, (_, points) in zip(grid.flat, panels, strict=False):
        for p in _readable(axis, points):
            offset = {"xytext": (5, 3), "textcoords": "offset points"}
            axis.annotate(p.name.replace("$", r"\$"), (p.cost, p.score), **offset, fontsize=8, color=_INK)
    buffer = io.BytesIO()
    # The same figures make the same file: without a date, and with ids that are no random numbers.
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "dymo"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": "dymo"})
    text = buffer.getvalue().decode().replace(_INK, "currentColor")
    start = text.index(">", text.index("<svg")) + 1
    return (text[:start] + _STYLE + text[start:]).encode()


def _readable(axis: Axes, points: Sequence[Point]) -> list[Point]:
    """The points whose names can stand beside them without covering one another; the front first, then ours."""
    best, found, taken = front(points), [], np.zeros((0, 4))
    scale = axis.figure.dpi / 72
    for point in sorted(points, key=lambda p: (p not in best, not p.ours)):
        x, y = axis.transData.transform((point.cost, point.score))
        # A name of 8 points: 10 points high, a letter of it some 4.8 wide.
        box = np.array([x, y, x + scale * (8 + 4.8 * len(point.name)), y + scale * 11])
        apart = (box[:2] >= taken[:, 2:]) | (box[2:] <= taken[:, :2])
        if apart.any(1).all():
            taken = np.vstack([taken, box])
            found.append(point)
    return found
