"""Without an objective the library must not be there at all."""

import pytest
import tiny
import torch
from diffusers import DDPMScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler

from dymo import DyMO

PICTURE = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(5))
MASK = torch.zeros(1, 1, 32, 32).index_fill(3, torch.arange(8, 24), 1)
CASES = {
    "sd ddim": (tiny.sd, {}),
    "sd ddim eta 1": (tiny.sd, {"eta": 1.0}),
    "sd ddpm": (lambda: tiny.sd(scheduler_kind=DDPMScheduler), {}),
    "sd euler": (lambda: tiny.sd(scheduler_kind=EulerDiscreteScheduler), {}),
    "sd euler ancestral": (lambda: tiny.sd(scheduler_kind=EulerAncestralDiscreteScheduler), {}),
    "sd without guidance": (tiny.sd, {"guidance_scale": 1.0}),
    "sd + controlnet": (tiny.sd_controlnet, {"image": PICTURE}),
    "sd + lora": (tiny.sd_lora, {}),
    "sdxl": (tiny.sdxl, {}),
    "sdxl img2img": (tiny.sdxl_img2img, {"image": PICTURE, "strength": 0.75, "height": None, "width": None, "num_inference_steps": 3}),
    "sd inpaint": (tiny.sd_inpaint, {"image": PICTURE, "mask_image": MASK}),
}


def arguments(extra, **more):
    merged = {**tiny.SMALL, "generator": torch.Generator().manual_seed(0), **extra, **more}
    return {k: v for k, v in merged.items() if v is not None}


@pytest.mark.parametrize("name", CASES)
def test_no_objective_is_bit_identical_and_guidance_leaves_the_pipeline_as_it_was(name):
    make, extra = CASES[name]
    extra = {"num_inference_steps": 2, **extra}
    pipe = make()
    flags = {
        n: p.requires_grad
        for part in ("unet", "vae", "text_encoder")
        for n, p in getattr(pipe, part).named_parameters()
    }
    plain = pipe(tiny.PROMPT, **arguments(extra)).images
    inactive = DyMO(None, semantic_weight=0)(pipe, tiny.PROMPT, **arguments(extra))
    assert torch.equal(inactive.images, plain)
    assert set(inactive.trace.evaluations) == {len(inactive.trace.steps)}
    guided = DyMO(tiny.brightness, recurrences=1, eta=0.05, few_steps="never")(pipe, tiny.PROMPT, **arguments(extra))
    assert guided.images.isfinite().all() and not torch.equal(guided.images, plain)
    assert set(guided.trace.evaluations) == {2 * len(guided.trace.steps)}
    assert torch.equal(pipe(tiny.PROMPT, **arguments(extra)).images, plain)
    assert flags == {
        n: p.requires_grad
        for part in ("unet", "vae", "text_encoder")
        for n, p in getattr(pipe, part).named_parameters()
    }
    assert pipe.scheduler.order == type(pipe.scheduler).order
    assert not {"step", "set_timesteps", "order"} & set(vars(pipe.scheduler))


@pytest.mark.parametrize("gradient", ["full", "conditional", "straight-through"])
def test_the_number_of_denoiser_calls_is_what_the_trace_says(gradient):
    pipe, seen = tiny.sd(), []
    # Of a forward with a graph to some rows alone, these are shown of the whole that runs.
    pipe.unet.conv_in.register_forward_hook(
        lambda module, inputs, output: seen.append(len(getattr(inputs[0], "_whole", inputs[0])))
    )
    output = DyMO(tiny.brightness, gradient=gradient, recurrences=2)(pipe, [tiny.PROMPT] * 2, **arguments({}))
    assert output.trace.cost.denoiser_calls == len(seen)
    assert output.trace.cost.denoiser_rows == sum(seen) == 2 * sum(output.trace.evaluations)


def test_a_batch_of_four_equals_four_single_runs():
    prompts = [tiny.PROMPT, "a green car", "a red car and a green apple", tiny.PROMPT]
    aligner = DyMO(tiny.brightness, recurrences="dynamic", h=(600.0, 3600.0, 3000.0), max_recurrences=2, eta=0.02)
    seeds = [torch.Generator().manual_seed(i) for i in range(4)]
    together = aligner(tiny.sd(), prompts, **arguments({"eta": 1.0, "generator": seeds}))
    rounds = []
    for i, prompt in enumerate(prompts):
        alone = aligner(tiny.sd(), prompt, **arguments({"eta": 1.0, "generator": [torch.Generator().manual_seed(i)]}))
        torch.testing.assert_close(together.images[i : i + 1], alone.images, atol=2e-4, rtol=0)
        rounds.append(alone.trace.evaluations[0])
    assert together.trace.evaluations == rounds
    assert len(set(rounds)) > 1  # they did not all travel alike, or the test would say little


def test_num_images_per_prompt_repeats_the_words():
    output = DyMO(tiny.brightness, recurrences=0)(
        tiny.sd(), [tiny.PROMPT, "a green car"], num_images_per_prompt=2, **arguments({})
    )
    assert len(output.images) == 4
    assert output.trace.prompts == [tiny.PROMPT, tiny.PROMPT, "a green car", "a green car"]


def test_prompt_embeds_with_a_given_graph():
    pipe = tiny.sd()
    positive, negative = pipe.encode_prompt(tiny.PROMPT, "cpu", 1, True)
    graph = {
        "prompt": tiny.PROMPT,
        "entities": [{"text": "apple", "attributes": ["red"]}, {"text": "car", "attributes": ["green"]}],
    }
    aligner = DyMO(tiny.brightness, recurrences=0)
    words = aligner(pipe, tiny.PROMPT, graph=graph, **arguments({}))
    embeds = aligner(pipe, prompt_embeds=positive, negative_prompt_embeds=negative, graph=graph, **arguments({}))
    torch.testing.assert_close(words.images, embeds.images)


def test_checkpointing_gives_the_same_picture_and_is_switched_off_again():
    pipe = tiny.sd()
    plain = DyMO(tiny.brightness, recurrences=0)(pipe, tiny.PROMPT, **arguments({}))
    before = [set(vars(part)) for model in (pipe.unet, pipe.vae) for part in model.modules()]
    saving = DyMO(tiny.brightness, recurrences=0, checkpointing=True)(pipe, tiny.PROMPT, **arguments({}))
    torch.testing.assert_close(plain.images, saving.images, atol=1e-5, rtol=0)
    assert [set(vars(part)) for model in (pipe.unet, pipe.vae) for part in model.modules()] == before
    assert pipe.unet._gradient_checkpointing_func is None
    assert not pipe.unet.is_gradient_checkpointing and not pipe.vae.is_gradient_checkpointing


def test_a_callback_sees_real_steps_once_and_its_latents_count():
    seen = []

    def callback(pipe, step, timestep, found):
        seen.append((step, int(timestep), found["latents"].requires_grad))
        return {"latents": torch.zeros_like(found["latents"])} if step == 3 else found

    output = DyMO(tiny.brightness, recurrences=2)(
        tiny.sd(), tiny.PROMPT, **arguments({"output_type": "latent"}), callback_on_step_end=callback
    )
    assert [step for step, _, _ in seen] == [0, 1, 2, 3]
    assert len({t for _, t, _ in seen}) == 4
    assert not any(grad for _, _, grad in seen)
    assert output.images.abs().sum() == 0


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_exception_the_next_plain_call_is_bit_identical(error):
    pipe = tiny.sd()
    plain = pipe(tiny.PROMPT, **arguments({})).images

    def callback(pipe, step, timestep, found):
        if step == 1:
            raise error("stop")
        return found

    with pytest.raises(error):
        DyMO(tiny.brightness, recurrences=2)(pipe, tiny.PROMPT, **arguments({}), callback_on_step_end=callback)
    assert torch.equal(pipe(tiny.PROMPT, **arguments({})).images, plain)


def test_return_dict_false_still_carries_the_trace():
    output = DyMO(None, semantic_weight=0)(tiny.sd(), tiny.PROMPT, **arguments({"return_dict": False}))
    images, unsafe = output
    assert isinstance(output, tuple) and len(output.trace.steps) == 4
    assert images.shape == (1, 3, 32, 32) and unsafe is None
