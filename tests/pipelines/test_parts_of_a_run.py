"""Runs that take a part of their schedule, of their seeds, or of their course; and components that are elsewhere until they run."""

from __future__ import annotations

import threading

import flows
import pytest
import tiny
import torch
from accelerate import cpu_offload

from dymo import Budget, ConfigError, DyMO
from dymo.events import Accepted, Begun
from dymo.guidance import step

PLAIN = dict(recurrences=0, borders=(1000, 1000))
"""The reward alone."""


def run(aligner, pipe, prompt=tiny.PROMPT, **more):
    return aligner(pipe, prompt, **{**tiny.SMALL, "generator": torch.Generator().manual_seed(0), **more})


def redness(images, prompts):
    return images[:, 0].mean((1, 2))


def offloaded(pipe):
    """As by `enable_sequential_cpu_offload()` on an accelerator: weights lie elsewhere until a module runs."""
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        if getattr(pipe, name, None) is not None:
            cpu_offload(getattr(pipe, name), execution_device=torch.device("cpu"))
    return pipe


def test_a_vae_in_float32_beside_one_that_is_offloaded():
    def pipe():
        return tiny.sdxl(vae=tiny.vae(force_upcast=True)).to(torch.float16)

    there, elsewhere = (run(DyMO(tiny.brightness, **PLAIN), one, output_type="latent") for one in (pipe(), offloaded(pipe())))
    torch.testing.assert_close(there.images, elsewhere.images, atol=0.05, rtol=0)  # of 20, in float16: another order of sums
    assert there.trace.failures == elsewhere.trace.failures == {}


def test_seconds_with_components_that_are_offloaded():
    found = run(DyMO(tiny.brightness, **PLAIN), offloaded(tiny.sd()), budget=Budget(seconds=100))
    assert len(found.trace.steps) == 4 and not found.trace.failures


@pytest.mark.parametrize("preset, event, at", [("default", Accepted, 2), ("fast", Accepted, 2), ("fast", Begun, 2)])
def test_the_pipeline_s_interrupt_ends_a_run_wherever_it_comes_from(preset, event, at):
    pipe, heard = tiny.sd(), []

    def listen(what):
        heard.append(what)
        if sum(isinstance(one, event) for one in heard) == at:
            pipe._interrupt = True

    found = run(DyMO(tiny.brightness, preset), pipe, listeners=[listen])
    assert found.trace.cancelled and len(found.images) == 1
    assert len(found.trace.steps) == (at if event is Accepted else 0)
    assert not run(DyMO(tiny.brightness, preset), pipe).trace.cancelled


def test_an_interrupt_ends_a_run_though_the_pipeline_s_own_loop_does_not_heed_it():
    case, seen = flows.FAMILIES["omnigen"], []

    def stop(pipe, index, timestep, found):
        seen.append(index)
        pipe._interrupt = True
        return found

    call = {**case.kwargs, "generator": torch.Generator().manual_seed(0), "callback_on_step_end": stop}
    assert DyMO(tiny.brightness, semantic_weight=0)(case.make(), case.prompt, **call).trace.cancelled and seen == [0]


def test_cancel_among_the_unguided_steps_that_the_end_is_compared_with():
    pipe, cancel, calls = tiny.sd(), threading.Event(), []
    forward = pipe.unet.forward

    def counted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            cancel.set()
        return forward(*args, **kwargs)

    pipe.unet.forward = counted
    found = run(DyMO(tiny.brightness, watch=[redness], on_hacking="best"), pipe, cancel=cancel)
    assert len(calls) == 2 and found.trace.cancelled and found.trace.returned == ["unguided"] and not found.trace.steps


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_where_nothing_multiplies_the_prompt_s_rows_their_gradient_is_the_whole(scale):
    both = [
        run(DyMO(tiny.brightness, few_steps="never", gradient=gradient, **PLAIN), tiny.sd(), guidance_scale=scale)
        for gradient in ("conditional", "full")
    ]
    tiny.assert_same_run(*both)
    assert both[0].trace.failures == {}


def test_a_step_is_as_long_in_a_run_that_ends_early(monkeypatch):
    paces, plain = [], step.pace

    def pace(config, now):
        paces.append(plain(config, now))
        return paces[-1]

    monkeypatch.setattr(step, "pace", pace)
    for end in (None, 0.6):
        run(DyMO(tiny.brightness, **PLAIN), tiny.sdxl(), num_inference_steps=10, denoising_end=end)
    assert len(paces) > 10 and len(set(paces)) == 1


def test_each_image_of_a_batch_has_its_own_fresh_views():
    aligner = DyMO(tiny.brightness, views=3, fresh_views=True, borders=(1000, 1000), max_recurrences=2, h=(1e4, 1e4, 1e4))
    prompts, seeds = [tiny.PROMPT, "a green car"], [1, 2]
    both = run(aligner, tiny.sd(), prompts, generator=[torch.Generator().manual_seed(seed) for seed in seeds])
    for i, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
        alone = run(aligner, tiny.sd(), prompt, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(both.images[i : i + 1], alone.images, atol=1e-4, rtol=0)


def test_latents_that_were_made_under_inference_mode():
    def noise():
        return torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3))

    with torch.inference_mode():
        odd = noise()
    pipe = flows.sd3()
    first, second = (run(DyMO(tiny.brightness, **PLAIN), pipe, latents=one) for one in (noise(), odd))
    assert torch.equal(first.images, second.images)


def test_a_preview_of_other_latents_is_refused_before_anything_runs():
    with pytest.raises(ConfigError, match="preview_vae=: this VAE decodes latents of 16 channels, and those of StableDiffusionPipeline have 4"):
        run(DyMO(tiny.brightness, preview_vae=tiny.vae(latent_channels=16)), tiny.sd())
