"""The plot of a trace."""

import io

import numpy as np
import pytest
from PIL import Image

from dymo.report.plot import plot_trace
from dymo.trace import Step, Trace


def trace(steps=6, samples=2, maps=True):
    stages = ["semantic", "semantic", "mixed", "mixed", "preference", "unguided"]
    made = [
        Step(
            index=i, timestep=900 - 150 * i, stage=stages[i % 6],
            weights={"semantic": [1 - i / 6] * samples, **({"own": [i / 6] * samples} if i else {})},
            losses={"semantic": [None] * samples}, reward=[None if i < 2 else 0.1 * i] * samples,
            gradient_norm=[None if i == 5 else 2.0 + i] * samples, displacement=[0.1] * samples,
            recurrences=[i % 3] * samples, unguided=[None] * samples,
        )
        for i in range(steps)
    ]  # fmt: skip
    found = {i: {f"{s}:{w}": np.eye(4).tolist() for s in range(samples) for w in ("red", "apple")} for i in range(3)}
    return Trace(prompts=["costs $5 and $6"] * samples, steps=made, maps=found if maps else {})


def opened(png):
    image = Image.open(io.BytesIO(png))
    image.load()
    return image


def test_maps_make_the_plot_taller():
    with_maps, without = opened(plot_trace(trace(), 1)), opened(plot_trace(trace(maps=False)))
    assert with_maps.height > without.height and with_maps.width == without.width


def test_a_trace_that_came_back_from_json_draws_the_same():
    original = trace()
    assert plot_trace(Trace.from_json(original.to_json())) == plot_trace(original)


@pytest.mark.parametrize("steps", [1, 2, 25])
def test_runs_of_any_length(steps):
    assert opened(plot_trace(trace(steps))).width > 100


def test_a_run_without_steps_or_values():
    assert opened(plot_trace(Trace(prompts=["a cat"]))).width > 100
    silent = trace(maps=False)
    for step in silent.steps:
        step.reward = step.gradient_norm = [None, None]
    assert opened(plot_trace(silent)).width > 100


def test_a_sample_that_is_not_there():
    with pytest.raises(IndexError, match="this run has 2"):
        plot_trace(trace(), 2)
