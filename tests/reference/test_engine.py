"""The preset `official-sd15` with one view repeats every evaluation of the authors' program, each from its recorded latents.

The copy in this repository is rounded to fit into 3 MB, which moves L_R and ||g|| by a little more than float32 does, and of a
preference step's evaluations, which depend on their latents alone, the first two are repeated. With DYMO_RECORDING=FOLDER of the
whole recording the same test runs on all of it, within the tolerances of float32.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from reference import recording

from dymo.config import preset
from dymo.guidance.objectives import Preference, SemanticAlignment
from dymo.guidance.observer import Observer
from dymo.guidance.recurrence import recurrences
from dymo.guidance.schedule import stage
from dymo.methods.dymo import _STAGES_OF, _guide, _need
from dymo.pipelines.decode import decoder
from dymo.pipelines.hold import frozen
from dymo.pipelines.loop import PipelineLoop
from dymo.pipelines.settings import MapChoice
from dymo.prompt.tokens import TokenPairs
from dymo.rewards import placed
from dymo.trace import Cost

# The recording's borders lie at steps 2 and 5 of its 10; it had one view.
CONFIG = preset("official-sd15", views=1, borders=(0.2, 0.5))
CALL = dict(num_inference_steps=10, guidance_scale=7.5, eta=1.0, height=128, width=128, output_type="latent")


class Kept(Observer):
    def evaluated(self, seen, weights, losses, moved):
        self.weights = {name: w.item() for name, w in weights.items()}
        self.losses = {name: loss.sum().item() for name, loss in losses.items()}


WHOLE = os.environ.get("DYMO_RECORDING")
# Of L_R and ||g||, relative.
TOLERANCES = {"reduced": (3e-5, 1e-3), "whole": (1e-5, 2e-4)}


@pytest.fixture(scope="module", params=["reduced", "whole"])
def run(request):
    """What the engine computes at each recorded evaluation: (recorded, stage, weights, losses, the move, r_t)."""
    if request.param == "whole" and not WHOLE:
        pytest.skip("DYMO_RECORDING does not name the folder of the whole recording")
    whole = Path(WHOLE) if request.param == "whole" else None
    pipe, reward, prompt = recording.pipeline(whole), recording.reward(whole), recording.prompt()
    named = recording.pairs()
    pairs = TokenPairs(*(tuple(((a,), (b,)) for a, b in named[kind]) for kind in ("pos", "neg")))
    objectives = [
        SemanticAlignment([pairs]),
        Preference(lambda images, rows, t: reward.score(images, [prompt] * len(rows), t), CONFIG.preference_form, clamp=CONFIG.clamp),
    ]
    kept, found, before = Kept(), [], None
    reduced = (one for one in recording.evaluations() if one.stage != "preference" or one.recurrence < 2)
    at = list(reduced if whole is None else recording.whole(whole))
    kwargs = {**CALL, "prompt": prompt, "generator": torch.Generator().manual_seed(0)}
    with placed([reward], "cpu"), torch.enable_grad(), frozen([pipe.unet, pipe.vae, pipe.text_encoder]):
        loop = PipelineLoop(pipe, kwargs, decode=decoder(pipe.vae), cost=Cost(), choice=MapChoice(all_rows=CONFIG.map_rows == "all"))
        with loop:
            for now in loop:
                seen, kind = loop.predict(), stage(CONFIG, now)
                acting = [o for o in objectives if kind in _STAGES_OF[o.needs]]
                while at and at[0].t == round(now.t):
                    recorded = at.pop(0)
                    seen = loop.predict(recorded.z, [0], _need(acting, CONFIG, kind, CONFIG.gradient))
                    moved = _guide(acting, CONFIG, kind, seen, before, kept)
                    before = seen.z0.detach()
                    r = recurrences(CONFIG, kind, moved.size.item())
                    found.append((recorded, kind, kept.weights, kept.losses, moved, r))
                loop.accept(loop.sampler_step(seen))
    assert not at
    return request.param, found


def test_every_evaluation_is_as_recorded(run):
    kind_of_copy, found = run
    loss, size = TOLERANCES[kind_of_copy]
    assert len(found) == (41 if kind_of_copy == "whole" else 22)
    for recorded, kind, weights, losses, moved, r in found:
        assert kind == recorded.stage
        if "semantic" in losses:
            assert losses["semantic"] == pytest.approx(recorded.loss_semantic, rel=1e-5)
        if "preference" in losses:
            assert losses["preference"] == pytest.approx(recorded.loss_preference, rel=loss)
        if kind == "mixed":
            # In units of w: w_A is 10 w there.
            assert weights["semantic"] / 10 == pytest.approx(recorded.w_A / 10, abs=1e-6)
            assert weights["preference"] == pytest.approx(recorded.w_R, abs=1e-6)
        assert moved.size.item() == pytest.approx(recorded.gradient_norm, rel=size)
        assert recorded.cosine(-moved.displacement) > 1 - 1e-4
        assert moved.length.item() == pytest.approx(recorded.displacement, rel=1e-4)
        if recorded.recurrence == 0:
            assert r == recorded.r_t
