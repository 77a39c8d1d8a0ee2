"""What holds for every test."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported: the workers of pytest-xdist share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nothing that is tested needs the network; a test that reaches for it shall fail at once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import hypothesis
import pytest
import torch

torch.set_num_threads(1)
# No test asserts on time: a machine may be busy.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

WEIGHTS = Path(__file__).parent.parent / "src" / "dymo" / "miniature" / "weights"


def pytest_collection_finish() -> None:
    """What was imported and collected, millions of objects, lives as long as the worker: no collection looks at it again, or often."""
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.fixture(autouse=True)
def kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """Convolutions of a few channels cost oneDNN more in preparations than in work; the miniature's are run as its users run them."""
    before = torch.backends.mkldnn.set_flags(request.node.get_closest_marker("miniature") is not None)
    yield
    torch.backends.mkldnn.set_flags(*before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `miniature` wait for the trained weights, and run as soon as they are there."""
    lacking = [part for part in ("pipeline", "mini-pickscore", "mini-hps", "judge") if not (WEIGHTS / part).is_dir()]
    if not lacking:
        return
    missing = pytest.mark.skip(reason=f"no trained weights in {WEIGHTS}: {', '.join(lacking)}")
    for item in items:
        if item.get_closest_marker("miniature"):
            item.add_marker(missing)
