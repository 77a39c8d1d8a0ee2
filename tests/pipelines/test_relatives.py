"""The relatives of pipelines that have a full case: untouched where nothing is asked, guided where it is, as before afterwards."""

from __future__ import annotations

import io
import re

import diffusers
import pytest
import relatives
import tiny
import torch
from tqdm.auto import tqdm

from dymo import DyMO, PipelineError, SemanticGraph
from dymo.pipelines.families import family_of
from dymo.pipelines.families.refused import REFUSED

STILL = DyMO(None, semantic_weight=0)
# Both objectives at every step, each step twice, and nothing damped away.
GUIDED = DyMO(
    tiny.brightness, recurrences=1, borders_by="progress", borders=(0.0, 1.0), eta=0.05, damping=0.0, k=1.0, few_steps="never",
)  # fmt: skip
GRAPH = SemanticGraph.from_json(
    {"prompt": tiny.PROMPT, "entities": [{"text": "apple", "attributes": ["red"]}, {"text": "car", "attributes": ["green"]}]}
)


@pytest.mark.parametrize("name", relatives.CASES)
def test_bit_identical_with_open_slots_guided_at_each_evaluation_and_as_before(name):
    case = relatives.CASES[name]
    pipe = case.make()
    assert type(pipe).__name__ == name.split()[0]
    calls = []
    family_of(pipe).denoiser(pipe).register_forward_pre_hook(lambda *_: calls.append(1))

    def run(aligner):
        torch.manual_seed(0)  # some pipelines draw from it, whatever the generator
        generator = torch.Generator().manual_seed(0)
        return aligner(pipe, case.prompt, graph=GRAPH, **case.kwargs, generator=generator)

    images = run(lambda pipe, prompt, graph, **kwargs: pipe(prompt=prompt, **kwargs)).images
    assert images.isfinite().all() and images.std() > 0.01
    number = len(calls)
    guided = run(GUIDED)
    calls.clear()
    still = run(STILL)
    assert torch.equal(still.images, images) and len(calls) == number
    assert guided.images.isfinite().all() and not torch.equal(guided.images, images)
    steps = still.trace.steps
    assert guided.trace.evaluations == [2 * len(steps) - (steps[0].timestep == 999)]  # there is no way back to pure noise
    for step in guided.trace.steps:
        assert step.displacement[0] > 0 and set(step.losses) == {"semantic", "preference"}, step


@pytest.mark.parametrize("name", REFUSED)
def test_what_its_own_loop_makes_impossible_is_refused_with_the_reason_and_what_to_use(name):
    """Subclasses too; whatever their parts are."""
    kind = getattr(diffusers, name)
    pipe = object.__new__(type("Mine", (kind,), {}))
    vars(pipe)["unet"] = torch.nn.Identity()
    reason, instead = REFUSED[name]
    with pytest.raises(PipelineError) as said:
        family_of(pipe)
    assert str(said.value).startswith(f"Mine cannot be steered: {reason}") and instead in str(said.value)
    for other in re.findall(r"\w+Pipeline", instead):
        assert other not in REFUSED and hasattr(diffusers, other)


def test_a_pipeline_that_does_not_tell_its_guidance_is_refused_until_its_class_does():
    kind = diffusers.StableDiffusionInpaintPipelineLegacy
    told = type("Told", (kind,), {"do_classifier_free_guidance": property(lambda self: True), "guidance_scale": 7.5})
    for one in (kind, told):
        pipe = object.__new__(one)
        vars(pipe).update(unet=torch.nn.Identity(), vae=tiny.vae())
        if one is told:
            assert family_of(pipe).branches(pipe, {}).count == 2
            continue
        with pytest.raises(PipelineError, match=r"no property do_classifier_free_guidance.*give its class that property"):
            family_of(pipe)


def test_a_bar_around_the_timesteps_counts_each_step_once():
    case, bars = relatives.CASES["StableUnCLIPImg2ImgPipeline"], []
    pipe = case.make()

    def progress_bar(iterable=None, total=None):
        bars.append(tqdm(iterable, total=total, file=io.StringIO()))
        return bars[-1]

    pipe.progress_bar = progress_bar
    GUIDED(pipe, case.prompt, graph=GRAPH, **case.kwargs)
    assert [(bar.n, bar.total, bar.disable) for bar in bars] == [(2, 2, True)]  # closed
