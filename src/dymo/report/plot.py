"""A trace as a plot: what was done at each t, and the attention maps of the graph's words."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..trace import Step, Trace

MAPS_ACROSS = 8  # at most this many steps in the strip of maps
_BLUE, _ORANGE, _GREEN, _GREY, _PURPLE = "#0072B2", "#D55E00", "#00805f", "#444444", "#7a5195"
_LINES = (_BLUE, _ORANGE, _GREEN, _PURPLE)
_STAGES = {"semantic": "#e6f0f7", "mixed": "#f0ecf5", "preference": "#fbeee6", "unguided": "#f4f4f4"}


def plot_trace(trace: Trace, sample: int = 0, title: str | None = None) -> bytes:
    """The PNG of one sample of a run: weights, reward, gradient norm, recurrences over t; then the maps of its words.

    Raises IndexError where the run has no such sample.
    """
    samples = max(len(trace.prompts), *(len(step.recurrences) for step in trace.steps), 0)
    if not 0 <= sample < samples:
        raise IndexError(f"sample {sample}: this run has {samples}")
    times, maps = _maps_of(trace, sample)
    strip = 0.3 + 0.78 * len(maps) if maps else 0.0
    figure = Figure(figsize=(7.2, 5.4 + strip), dpi=110)  # margins of its own: a layout engine draws everything twice
    FigureCanvasAgg(figure)
    parts = figure.subfigures(2 if maps else 1, 1, height_ratios=[5.4, strip][: 2 if maps else 1], squeeze=False)
    if maps:
        _draw_maps(parts[1, 0], times, maps)
    upper = parts[0, 0]
    upper.suptitle(_shortened(title or (trace.prompts[sample] if sample < len(trace.prompts) else "")), fontsize=10)
    axes = upper.subplots(4, 1, sharex=True, height_ratios=[1, 1.2, 1, 0.7])
    upper.subplots_adjust(left=0.1, right=0.985, bottom=0.08, top=0.91, hspace=0.14)
    upper.align_ylabels(axes)
    _draw_course(axes, trace.steps, sample)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": "dymo"})
    return buffer.getvalue()


def _draw_course(axes: Sequence[Axes], steps: Sequence[Step], sample: int) -> None:
    t = [step.timestep for step in steps]
    weights, reward, gradient, recurrences = axes
    for axis in axes:
        _shade_stages(axis, steps)
        axis.tick_params(which="both", labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.01)
    for n, name in enumerate(dict.fromkeys(name for step in steps for name in step.weights)):
        values = _numbers([step.weights[name][sample] if name in step.weights else None for step in steps])
        weights.plot(t, values, color=_LINES[n % 4], marker=".", linestyle=("-", "--", ":", "-.")[n % 4], label=name)
    weights.set_ylabel("weight", fontsize=8)
    if weights.lines:
        weights.legend(fontsize=7, frameon=False, loc="center left")
    reward.plot(t, _numbers([step.reward[sample] for step in steps]), color=_GREEN, marker=".")
    reward.set_ylabel("reward of $\\hat{x}_0$", fontsize=8)
    norms = _numbers([step.gradient_norm[sample] for step in steps])
    gradient.plot(t, norms, color=_GREY, marker=".")
    if np.any(np.nan_to_num(norms) > 0):
        gradient.set_yscale("log")
    gradient.set_ylabel("$\\|g_t\\|$", fontsize=8)
    width = 0.5 * min((abs(a - b) for a, b in pairwise(t) if a != b), default=20.0)
    recurrences.bar(t, [step.recurrences[sample] for step in steps], width=width, color=_PURPLE)
    recurrences.set_ylabel("recurrences", fontsize=8)
    recurrences.yaxis.get_major_locator().set_params(integer=True)
    recurrences.set_ylim(0, max([1, *(step.recurrences[sample] for step in steps)]) * 1.1)
    recurrences.set_xlabel("timestep t, in the order of the run", fontsize=8)
    recurrences.invert_xaxis()


def _shade_stages(axis: Axes, steps: Sequence[Step]) -> None:
    """A background a stage, each from its first step to the next stage's first."""
    starts = [i for i, step in enumerate(steps) if i == 0 or step.stage != steps[i - 1].stage]
    for start, after in zip(starts, [*starts, None][1:], strict=True):
        stage, left = steps[start].stage, steps[start].timestep
        right = steps[-1].timestep if after is None else steps[after].timestep
        axis.axvspan(left, right, color=_STAGES.get(stage, "#ffffff"), zorder=0, linewidth=0)
        # The names once, over the uppermost plot.
        if axis.get_subplotspec().is_first_row():
            where = {"transform": axis.get_xaxis_transform(), "ha": "center"}
            axis.text((left + right) / 2, 1.02, stage, fontsize=8, color=_GREY, **where)


def _draw_maps(figure, times: Sequence[float], maps: dict[str, list[Any]]) -> None:
    figure.suptitle("cross-attention maps of the words", fontsize=9)
    grid = figure.subplots(len(maps), MAPS_ACROSS, squeeze=False)
    figure.subplots_adjust(left=0.13, right=0.985, bottom=0.02, top=1 - 0.36 / (0.3 + 0.78 * len(maps)), hspace=0.05, wspace=0.05)
    for axis in grid.flat:
        axis.axis("off")
    for row, (word, series) in enumerate(maps.items()):
        for column, map_ in enumerate(series):
            axis = grid[row][column]
            if map_ is not None:
                axis.imshow(map_, cmap="magma", vmin=0, vmax=1, interpolation="nearest")
            if row == 0:
                axis.set_title(f"t = {times[column]:.0f}", fontsize=7)
            if column == 0:
                axis.text(-0.12, 0.5, _shortened(word, 14), transform=axis.transAxes, ha="right", va="center", fontsize=8)


def _maps_of(trace: Trace, sample: int) -> tuple[list[float], dict[str, list[Any]]]:
    """Times of the chosen steps, and word -> its map at each of them, (side, side) with maximum 1."""
    prefix = f"{sample}:"
    held = [index for index in sorted(trace.maps) if any(key.startswith(prefix) for key in trace.maps[index])]
    if len(held) > MAPS_ACROSS:
        held = [held[round(i * (len(held) - 1) / (MAPS_ACROSS - 1))] for i in range(MAPS_ACROSS)]
    words = dict.fromkeys(key for index in held for key in trace.maps[index] if key.startswith(prefix))
    timestep = {step.index: step.timestep for step in trace.steps}
    maps = {key.removeprefix(prefix): [trace.maps[index].get(key) for index in held] for key in words}
    return [timestep.get(index, math.nan) for index in held], maps


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    """None as NaN, which leaves a gap in the line."""
    return np.array([math.nan if value is None else value for value in values], dtype=float)


def _shortened(text: str, most: int = 90) -> str:
    text = " ".join(text.split()).replace("$", r"\$")  # a dollar would start a formula
    return text if len(text) <= most else text[: most - 1] + "…"
