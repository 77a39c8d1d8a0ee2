"""Plots of a comparison: what a row scores against what it costs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#8a8a8a"


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


def pareto_plot(panels: Sequence[tuple[str, str, Sequence[Point]]]) -> bytes:
    """The PNG of panels (metric, cost, points) side by side, two a line; the front as a stair.

    A name that would cover another is left out: the front's come first, then ours.
    """
    lines = -(-len(panels) // 2)
    figure = Figure(figsize=(12, 4.4 * lines), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(lines, 2, squeeze=False)
    for axis, (metric, cost, points) in zip(grid.flat, panels, strict=False):
        best = front(points)
        axis.step([p.cost for p in best], [p.score for p in best], where="post", color=_GREY, linewidth=1)
        for ours, colour, marker in ((False, _BLUE, "o"), (True, _ORANGE, "D")):
            chosen = [p for p in points if p.ours == ours]
            axis.scatter(
                [p.cost for p in chosen], [p.score for p in chosen], color=colour, marker=marker, s=26, zorder=3
            )
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.margins(x=0.22, y=0.12)
        axis.set_xlabel(f"{cost} a picture", fontsize=9)
        axis.set_ylabel(metric, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in list(grid.flat)[len(panels) :]:
        axis.set_visible(False)
    figure.draw_without_rendering()  # so that the axes know where a point will lie
    for axis, (_, _, points) in zip(grid.flat, panels, strict=False):
        for p in _readable(axis, points):
            axis.annotate(
                p.name.replace("$", r"\$"), (p.cost, p.score), xytext=(5, 3), textcoords="offset points", fontsize=7
            )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": "dymo"})
    return buffer.getvalue()


def _readable(axis: Axes, points: Sequence[Point]) -> list[Point]:
    """The points whose names can stand beside them without covering one another; the front first, then ours."""
    best, found, taken = front(points), [], np.zeros((0, 4))
    for point in sorted(points, key=lambda p: (p not in best, not p.ours)):
        x, y = axis.transData.transform((point.cost, point.score))
        # A name of 7 points at 110 dots an inch is 11 dots high, a letter of it some 6 wide.
        box = np.array([x, y, x + 8 + 6 * len(point.name), y + 14])
        apart = (box[:2] >= taken[:, 2:]) | (box[2:] <= taken[:, :2])
        if apart.any(1).all():
            taken = np.vstack([taken, box])
            found.append(point)
    return found
