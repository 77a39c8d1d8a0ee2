"""docs/models.md says what is so: its tables are found out anew."""

from __future__ import annotations

import re

import pytest
import torch

from tools import models


# diffusers' DEIS and KDPM2 give a tensor to numpy.
@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")
def test_the_page_says_what_is_found(monkeypatch):
    """The transformers' rows are found out by tests/pipelines/test_transformers.py."""
    text = models.PAGE.read_text(encoding="utf-8")
    shown = re.search(r"<!-- transformers -->(.*)<!-- end of transformers -->", text, re.DOTALL)
    rows = [[cell.strip() for cell in line.split("|")] for line in shown[1].strip().splitlines()[2:]]
    assert [row[2] for row in rows] == [*models.flows.FAMILIES, *models.flows.FORMS]
    assert [row[2] for row in rows if row[7] == "below 1e-5"] == list(models.flows.FAMILIES)
    monkeypatch.delitem(models.TABLES, "transformers")
    assert models.page(text) == text
    assert "NO" not in text.split() and "NOT KNOWN" not in text


def test_the_probe_tells_what_is_not_so():
    """A denoiser that gives the same whatever the latents has no gradient; noise from no generator is never the same."""
    latents = torch.ones(1, 2, 4, 4)
    scheduler = models.diffusers.FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)
    pipe = models.bare.Bare(scheduler, lambda z, a, s: torch.ones_like(z))
    found = models.probe(pipe, lambda: dict(latents=latents, num_inference_steps=3))
    assert not found.gradient and found.calls == [1, 1, 1]
    pipe = models.bare.Bare(scheduler, lambda z, a, s: torch.tanh(z))
    found = models.probe(pipe, lambda: dict(latents=latents, num_inference_steps=3))
    assert found.gradient and not found.same and not found.restored
