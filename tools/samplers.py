"""Whether DPM++ 2M at 12 steps keeps what the guidance gains with DDIM at 25.

    python -m tools.samplers [--prompts 384] [--seeds 3] [--run runs/samplers] [--out docs/samplers.md]
"""

from __future__ import annotations

import sys

import numpy as np

from dymo.bench.plan import Comparison

from .held_out import ALL, HPS, Found, Measure, Study, things, values

SLOW, QUICK = "DDIM, 25 steps", "DPM++ 2M, 12 steps"
KEPT = 0.9
"""Of the gain, at least."""


def rows() -> list[dict]:
    few = {"scheduler": "dpm++ 2m", "call": {"num_inference_steps": 12}}
    fast = {"method": "dymo", "settings": {"preset": "fast"}}
    made = []
    for name, more in ((SLOW, {}), (QUICK, few)):
        made += [{"name": f"unguided, {name}", **more}, {"name": f"fast, {name}", **fast, **more}]
    return made


def kept(found: Found, measure: Measure, n: int = 10_000) -> tuple[float, float, float]:
    """The gain of `fast` by QUICK as a share of its gain by SLOW, with the 95 % interval of a bootstrap over the prompts."""
    prompts = things(found.plan.prompts)[measure.things]
    slow, quick = (
        values(found.results[f"fast, {name}"], measure, prompts) - values(found.results[f"unguided, {name}"], measure, prompts)
        for name in (SLOW, QUICK)
    )
    picks = np.random.default_rng(0).integers(len(slow), size=(n, len(slow)))
    shares = quick[picks].mean(1) / slow[picks].mean(1)
    return (float(quick.mean() / slow.mean()), *map(float, np.quantile(shares, (0.025, 0.975))))


def pairs(plan: Comparison) -> list[tuple[str, str]]:
    return [(row.name, f"unguided, {name}") for name in (SLOW, QUICK) for row in plan.rows if row.method == "dymo" and row.name.endswith(name)]


def claims(found: Found) -> list[tuple[str, bool]]:
    made = []
    for measure in (ALL, HPS):
        share, low, high = kept(found, measure)
        said = f"fast, {QUICK}, keeps {100 * share:.0f} % [{100 * low:.0f}, {100 * high:.0f}] of what fast, {SLOW}, gains"
        made.append((f"{measure.title}: {said}; at least {100 * KEPT:.0f}", share >= KEPT))
    return made


STUDY = Study(
    "samplers", "A quicker sampler on the miniature", rows(), pairs, claims, prompts=384, about="guided and unguided images by two samplers."
)

if __name__ == "__main__":
    sys.exit(STUDY.main())
