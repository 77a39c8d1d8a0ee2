"""docs/models.md says what is so: its tables are found out anew."""

from __future__ import annotations

import pytest

from tools import models


# diffusers' DEIS and KDPM2 give a tensor to numpy.
@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")
def test_the_page_says_what_is_found():
    text = models.PAGE.read_text(encoding="utf-8")
    assert models.page(text) == text
    assert "NO" not in text.split() and "NOT KNOWN" not in text


def test_a_sampler_whose_kicks_are_undone_or_whose_state_stays_is_told():
    """The probe can fail: a step that leaves something behind after an exception, and one that takes no gradient."""

    class Leaves(models.diffusers.FlowMatchEulerDiscreteScheduler):
        def step(self, *args, **kwargs):
            self.config.seen = len(str(getattr(self.config, "seen", ""))) + 1
            return super().step(*args, **kwargs)

    call = dict(latents=models.torch.ones(1, 2, 4, 4), num_inference_steps=3)
    pipe = models.bare.Bare(Leaves(), lambda z, a, s: models.torch.ones_like(z))
    found = models.probe(pipe, lambda: dict(call))
    assert not found.gradient and found.same and found.calls == [1, 1, 1]
