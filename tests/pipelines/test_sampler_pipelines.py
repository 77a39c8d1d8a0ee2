"""Samplers of every sort in real pipelines: img2img, inpainting, ControlNet, split runs; callbacks, interrupts, few-step decoding."""

from __future__ import annotations

import functools

import pytest
import tiny
import torch
import zoo
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    PNDMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLImg2ImgPipeline,
    TCDScheduler,
    UniPCMultistepScheduler,
)

from dymo import Budget, ConfigError, DyMO, PipelineError, SemanticGraph
from dymo.methods.fk_steering import FKSteering
from dymo.pipelines.decode import decoder
from dymo.pipelines.loop import PipelineLoop
from dymo.rewards import FunctionReward
from dymo.trace import Cost

STILL = DyMO(None, semantic_weight=0)
GUIDED = DyMO(
    tiny.brightness, recurrences=1, borders_by="progress", borders=(0.0, 1.0), eta=0.05, damping=0.0, k=1.0, few_steps="never",
)  # fmt: skip
GRAPH = SemanticGraph.from_json(
    {
        "prompt": tiny.PROMPT,
        "entities": [{"text": "apple", "attributes": ["red"]}, {"text": "car", "attributes": ["green"]}],
    }
)


def sampler(kind, **changes):
    return tiny.scheduler(kind, **changes)


def pndm(**changes):
    return sampler(PNDMScheduler, skip_prk_steps=True, **changes)


SQUARE = dict(height=32, width=32)
IMAGE, CONTROL, MASK = zoo.IMAGE, zoo.CONTROL, zoo.MASK
SDE = dict(algorithm_type="sde-dpmsolver++", use_karras_sigmas=True)
# A pipeline, the arguments of its call, and the evaluations of each of its steps.
CASES = {
    "img2img, DPM++": (
        lambda: zoo.sd(StableDiffusionImg2ImgPipeline, scheduler=sampler(DPMSolverMultistepScheduler, use_karras_sigmas=True)),
        dict(image=IMAGE, strength=0.75), [1, 1],
    ),
    "img2img, Heun": (
        lambda: zoo.sd(StableDiffusionImg2ImgPipeline, scheduler=sampler(HeunDiscreteScheduler)),
        dict(image=IMAGE, strength=0.75), [2, 1],
    ),
    "img2img, PNDM": (
        lambda: zoo.sd(StableDiffusionImg2ImgPipeline, scheduler=pndm()), dict(image=IMAGE, strength=0.75), [2, 1],
    ),
    "inpaint, UniPC": (
        lambda: zoo.sd(StableDiffusionInpaintPipeline, scheduler=sampler(UniPCMultistepScheduler)),
        dict(image=IMAGE, mask_image=MASK, **SQUARE), [1, 1, 1],
    ),
    "SDXL, DPM++ SDE Karras": (
        lambda: zoo.sdxl(scheduler=sampler(DPMSolverMultistepScheduler, **SDE)), SQUARE, [1, 1, 1],
    ),
    "ControlNet, Heun": (
        lambda: zoo.sd(StableDiffusionControlNetPipeline, controlnet=zoo.controlnet(), scheduler=sampler(HeunDiscreteScheduler)),
        dict(image=CONTROL, control_guidance_end=0.5, **SQUARE), [2, 2, 1],
    ),
    "SDXL to the half, Heun": (
        lambda: zoo.sdxl(scheduler=sampler(HeunDiscreteScheduler)), dict(denoising_end=0.6, output_type="latent", **SQUARE), [2, 1],
    ),
    "SDXL from the half, DPM++": (
        lambda: zoo.sdxl(StableDiffusionXLImg2ImgPipeline, scheduler=sampler(DPMSolverMultistepScheduler)),
        dict(image=zoo.noise(1, 4, 8, 8), denoising_start=0.5), [1],
    ),
    "LCM": (
        lambda: zoo.sd(
            LatentConsistencyModelPipeline, unet=tiny.unet(time_cond_proj_dim=8), scheduler=sampler(LCMScheduler), image_encoder=None
        ),
        SQUARE, [1, 1, 1],
    ),
}  # fmt: skip


@functools.cache
def made(name: str):
    return zoo.seeded(CASES[name][0])()


def arguments(name: str, **more):
    seed = torch.Generator().manual_seed(0)
    return {"num_inference_steps": 3, "output_type": "pt", **CASES[name][1], "generator": seed, **more}


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_plain_run_untouched_and_guided_at_each_step(name):
    pipe, calls = made(name), CASES[name][2]
    plain = pipe(tiny.PROMPT, **arguments(name)).images
    still = STILL(pipe, tiny.PROMPT, **arguments(name))
    assert torch.equal(still.images, plain)
    assert still.trace.evaluations == [sum(calls)] and len(still.trace.steps) == len(calls)

    guided = GUIDED(pipe, tiny.PROMPT, graph=GRAPH, **arguments(name))
    assert guided.trace.evaluations == [2 * sum(calls)]
    assert guided.images.isfinite().all() and not torch.equal(guided.images, plain)
    assert all(length > 0 for step in guided.trace.steps for length in step.displacement)
    # t falls, whatever the sampler calls its timesteps; PNDM in the middle lists a level that it has already reached.
    t = [step.timestep for step in guided.trace.steps]
    assert t == sorted(t, reverse=True) and len(set(t)) == len(t)
    assert torch.equal(pipe(tiny.PROMPT, **arguments(name)).images, plain)


@pytest.mark.parametrize("name", ["ControlNet, Heun", "inpaint, UniPC"])
def test_callbacks_and_the_bar_count_each_evaluation_of_a_plain_run_once(name):
    pipe = made(name)
    seen: dict[str, list] = {"plain": [], "guided": []}
    for way, run in (("plain", pipe), ("guided", functools.partial(GUIDED, pipe, graph=GRAPH))):

        def note(_pipe, index, t, found, way=way):
            seen[way].append((index, float(t), found["latents"].requires_grad))
            return {}

        run(prompt=tiny.PROMPT, callback_on_step_end=note, **arguments(name))
    assert seen["guided"] == seen["plain"] and len(seen["plain"]) == sum(CASES[name][2])


def test_an_interrupt_between_the_evaluations_of_a_step_waits_for_its_end():
    name = "ControlNet, Heun"
    pipe = made(name)
    plain = pipe(tiny.PROMPT, **arguments(name)).images

    def stop(pipe, index, t, found):
        pipe._interrupt = index == 2  # the first evaluation of the second step
        return {}

    output = GUIDED(pipe, tiny.PROMPT, graph=GRAPH, callback_on_step_end=stop, **arguments(name))
    assert output.trace.cancelled and len(output.trace.steps) == 2 and output.trace.evaluations == [8]
    assert output.images.isfinite().all()
    assert torch.equal(pipe(tiny.PROMPT, **arguments(name)).images, plain)


def test_a_budget_of_evaluations_counts_both_of_a_pair():
    name = "ControlNet, Heun"
    aligner = DyMO(tiny.brightness, recurrences=3, borders_by="progress", borders=(1.0, 1.0))
    for limit in (5, 10):
        output = aligner(made(name), tiny.PROMPT, graph=GRAPH, budget=Budget(evaluations=limit), **arguments(name))
        assert limit - 2 < output.trace.evaluations[0] <= limit
    with pytest.raises(ConfigError, match="less than the 5 evaluations that this sampler makes in the 3 steps"):
        STILL(made(name), tiny.PROMPT, budget=Budget(evaluations=4), **arguments(name))


def test_a_displacement_in_the_last_step_reaches_the_latents_that_a_consistency_pipeline_decodes():
    pipe = made("LCM")
    ends = []
    for kick in (0.0, 0.3):
        call = dict(prompt=tiny.PROMPT, **arguments("LCM", output_type="latent"))
        with PipelineLoop(pipe, call, decode=decoder(pipe.vae), cost=Cost()) as loop:
            for now in loop:
                z = loop.sampler_step(loop.predict())
                loop.accept(z + kick if now.index + 1 == now.steps else z)
        ends.append(loop.result.images)
    torch.testing.assert_close(ends[1], ends[0] + 0.3)


@pytest.mark.parametrize(
    ("name", "error"), [("inpaint, UniPC", RuntimeError), ("ControlNet, Heun", KeyboardInterrupt)]
)  # fmt: skip
def test_the_scheduler_is_as_it_was_after_an_exception(name, error):
    pipe = made(name)
    plain = pipe(tiny.PROMPT, **arguments(name)).images
    before = {key: repr(value) for key, value in vars(pipe.scheduler).items()}

    def reward(images, prompts):
        calls.append(1)
        if len(calls) == 3:  # in the middle of the second step
            raise error("stop")
        return images.mean((1, 2, 3))

    calls: list[int] = []
    with pytest.raises(error, match="stop"):
        DyMO(reward, recurrences=1, borders_by="progress", borders=(0.0, 0.0))(
            pipe, tiny.PROMPT, graph=GRAPH, **arguments(name)
        )
    assert {key: repr(value) for key, value in vars(pipe.scheduler).items()} == before
    assert torch.equal(pipe(tiny.PROMPT, **arguments(name)).images, plain)


@pytest.mark.parametrize(
    "make", [lambda: sampler(DPMSolverMultistepScheduler, **SDE), lambda: sampler(UniPCMultistepScheduler)]
)
def test_particles_of_one_ancestor_part_again_by_noise_whatever_the_sampler(make):
    """The best of two becomes both; DPM++ SDE draws noise of its own after that, and for UniPC the method does."""
    pipe = zoo.seeded(lambda: zoo.sd(scheduler=make()))()
    scored = []

    def reward(images, prompts):
        scored.append(images.detach())
        return images.mean((1, 2, 3))

    method = FKSteering(k=2, strength=1e9, resamplings=1)
    call = dict(num_inference_steps=4, output_type="pt", **SQUARE)
    found = [
        method.run(pipe, tiny.PROMPT, FunctionReward(reward), generator=torch.Generator().manual_seed(0), **call).images
        for _ in range(2)
    ]
    first, second = scored[1]
    assert (first - second).abs().max() > 1e-4 and torch.equal(*found) and found[0].isfinite().all()


def test_half_precision_keeps_what_rounding_takes_away_where_the_corrector_starts_from_the_sample_before():
    """UniPC's sample before the step stands for z_{t-1}: displaced in bfloat16, the end moves as it does in float32."""
    moved = []
    for dtype in (torch.float32, torch.bfloat16):
        pipe = zoo.seeded(lambda: zoo.sd(scheduler=sampler(UniPCMultistepScheduler)))().to(dtype)
        ends = []
        for kick in (0.0, 0.25):
            call = dict(
                prompt=tiny.PROMPT, num_inference_steps=5, output_type="latent", generator=torch.Generator().manual_seed(0), **SQUARE
            )  # fmt: skip
            with PipelineLoop(pipe, call, decode=decoder(pipe.vae), cost=Cost()) as loop:
                for now in loop:
                    z = loop.sampler_step(loop.predict())
                    loop.accept(z + kick if now.index == 2 else z)
            assert loop.result.images.dtype == dtype
            ends.append(loop.result.images.float())
        moved.append((ends[1] - ends[0]).mean())
    assert moved[1] == pytest.approx(float(moved[0]), rel=0.1) and moved[0] > 0.05


def test_pndm_with_runge_kutta_steps_says_what_to_set():
    pipe = tiny.sd(scheduler=sampler(PNDMScheduler))
    with pytest.raises(
        PipelineError, match=r"PNDMScheduler\.from_config\(pipe\.scheduler\.config, skip_prk_steps=True\)"
    ):
        STILL(pipe, tiny.PROMPT, **tiny.SMALL)


@pytest.mark.parametrize("kind", [DDIMScheduler, DDPMScheduler, TCDScheduler, LCMScheduler])
@pytest.mark.parametrize("steps", [1, 3])
def test_noise_predicted_where_there_is_nothing_else_is_refused_and_v_is_not(kind, steps):
    call = {**tiny.SMALL, "num_inference_steps": steps, "guidance_scale": 4.0}
    pipe = tiny.sd(scheduler=tiny.scheduler(kind, rescale_betas_zero_snr=True, timestep_spacing="trailing"))
    with pytest.raises(PipelineError, match="the latents would be NaN"):
        DyMO(tiny.brightness)(pipe, tiny.PROMPT, **call)
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, prediction_type="v_prediction")
    assert DyMO(tiny.brightness)(pipe, tiny.PROMPT, **call).images.isfinite().all()
