"""Defects of 0.1 around pipelines, by their numbers in the list of findings."""

from __future__ import annotations

import warnings

import pytest
import tiny
import torch
import zoo
from diffusers import AutoencoderKL, DDIMScheduler, EulerDiscreteScheduler

from dymo import DyMO, PipelineError, SemanticGraph
from dymo.guidance.levels import predict_z0
from dymo.pipelines.decode import decoder, decoding_vae
from dymo.pipelines.families import Branches
from dymo.pipelines.families.unet import UNet
from dymo.pipelines.loop import PipelineLoop
from dymo.pipelines.schedulers import timesteps
from dymo.trace import Cost

GRAPH = SemanticGraph.from_json(
    {
        "prompt": tiny.PROMPT,
        "entities": [{"text": "apple", "attributes": ["red"]}, {"text": "car", "attributes": ["green"]}],
    }
)


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("name", ["sd-adapter", "sdxl-adapter-half", "sdxl-adapter"])
def test_p3_the_adapter_takes_part_in_as_many_steps_as_in_a_plain_call(name):
    case = zoo.CASES[name]
    pipe = case.make()
    seen = []
    pipe.unet.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(
            (float(args[1]), kwargs.get("down_intrablock_additional_residuals") is not None)
        ),
        with_kwargs=True,
    )
    case.run(pipe)
    plain = set(seen)
    seen.clear()
    DyMO(tiny.brightness, recurrences=2)(pipe, case.prompt, graph=GRAPH, generator=generator(), **case.kwargs)
    assert set(seen) == plain and len(seen) > 2 * len(plain)


def test_p4_guidance_with_other_rows_is_refused_by_name():
    pipe = tiny.sd()
    rows = UNet.branches
    try:
        UNet.branches = lambda self, pipe, given, call=0: Branches(3, 0, 1)
        with pytest.raises(PipelineError, match="2 rows for 1 images, where 3 each were expected"):
            DyMO(tiny.brightness)(pipe, tiny.PROMPT, graph=GRAPH, **tiny.SMALL)
    finally:
        UNet.branches = rows


def test_p9_the_decoder_that_is_used_is_checkpointed_and_copied_once():
    settings = {k: v for k, v in tiny.vae().config.items() if not k.startswith("_")}
    vae = AutoencoderKL(**{**settings, "force_upcast": True}).half()
    first, second = (decoding_vae(vae, torch.device("cpu")) for _ in range(2))
    assert first is second and first is not vae and first.dtype == torch.float32
    for a, b in zip(vae.parameters(), first.parameters(), strict=True):
        assert torch.equal(a.float(), b)

    seen = []

    class Watched(AutoencoderKL):
        def decode(self, *args, **kwargs):
            seen.append(self.decoder.gradient_checkpointing)
            return super().decode(*args, **kwargs)

    preview = Watched.from_config(tiny.vae().config)
    preview.train()
    DyMO(tiny.brightness, checkpointing=True, recurrences=0)(
        tiny.sd(), tiny.PROMPT, graph=GRAPH, generator=generator(), **tiny.SMALL
    )
    aligner = DyMO(tiny.brightness, preview_vae=preview, checkpointing=True, recurrences=0)
    aligner(tiny.sd(), tiny.PROMPT, graph=GRAPH, generator=generator(), **tiny.SMALL)
    assert seen and all(seen) and not preview.decoder.gradient_checkpointing
    assert all(p.requires_grad for p in preview.parameters())  # frozen in the run, and put back


def test_p10_maps_have_the_size_asked_for_where_the_image_gives_the_size():
    pipe = zoo.CASES["sd-img2img"].make()
    wide = torch.rand(1, 3, 64, 128, generator=generator())
    call = dict(image=wide, strength=0.75, num_inference_steps=4, output_type="latent", generator=generator())
    aligner = DyMO(None, map_size=8, record_maps=True, borders=(0, 0))
    trace = aligner(pipe, tiny.PROMPT, graph=GRAPH, **call).trace
    found = trace.maps[0]["0:red"]
    assert (len(found), len(found[0])) == (8, 16)
    with pytest.raises(PipelineError, match="map_size=7"):
        DyMO(None, map_size=7)(pipe, tiny.PROMPT, graph=GRAPH, **{**call, "generator": generator()})


def test_p10_a_unet_with_a_size_of_two_numbers():
    pipe = tiny.sd(unet=tiny.unet(sample_size=(32, 16)))
    call = dict(tiny.SMALL, height=64, width=32)
    assert DyMO(None, recurrences=0)(pipe, tiny.PROMPT, graph=GRAPH, **call).trace.steps[0].displacement[0] > 0


def test_p11_prompt_embeds_with_a_graph_and_a_reward_alone():
    pipe = tiny.sd()
    positive, negative = pipe.encode_prompt(tiny.PROMPT, "cpu", 1, True)
    asked = []

    def reward(images, prompts):
        asked.append(list(prompts))
        return images.mean((1, 2, 3))

    DyMO(reward, semantic_weight=0, recurrences=0)(
        pipe, prompt_embeds=positive, negative_prompt_embeds=negative, graph=GRAPH, **tiny.SMALL
    )
    assert asked and asked[0] == [tiny.PROMPT]


def test_p12_the_scored_prediction_is_clipped_as_the_scheduler_clips_it():
    pipe = tiny.sd()
    pipe.scheduler = tiny.scheduler(DDIMScheduler, clip_sample=True, clip_sample_range=0.5)
    with PipelineLoop(
        pipe, dict(prompt=tiny.PROMPT, generator=generator(), **tiny.SMALL), decode=decoder(pipe.vae), cost=Cost()
    ) as loop:
        for now in loop:
            seen = loop.predict()
            assert seen.z0.abs().max() <= 0.5
            raw = predict_z0(seen.z, loop._call.output.detach(), now.here, "epsilon")
            torch.testing.assert_close(seen.z0, raw.clamp(-0.5, 0.5), atol=1e-5, rtol=1e-5)
            loop.accept(loop.sampler_step(seen))


def test_p12_t_is_the_level_s_own_where_a_scheduler_counts_otherwise():
    plain = tiny.scheduler(EulerDiscreteScheduler)
    continuous = tiny.scheduler(EulerDiscreteScheduler, timestep_type="continuous", prediction_type="v_prediction")
    for scheduler in (plain, continuous):
        scheduler.set_timesteps(10)
    first, second = ([now.t for now in timesteps(s, 0, 10)] for s in (plain, continuous))
    assert first == pytest.approx([float(t) for t in plain.timesteps], abs=0.01)
    assert second == pytest.approx(first, abs=1.0) and float(continuous.timesteps[0]) < 10
    ddim = tiny.scheduler(DDIMScheduler)
    ddim.set_timesteps(50)
    assert [now.t for now in timesteps(ddim, 0, 50)] == [float(t) for t in ddim.timesteps]


def test_p17_a_reward_that_is_used_at_no_step_is_told():
    pipe = tiny.sd()
    pipe.scheduler = tiny.scheduler(DDIMScheduler, timestep_spacing="trailing")
    call = {**tiny.SMALL, "num_inference_steps": 1}
    with pytest.warns(RuntimeWarning, match=r"used at none of the 1 steps \(t = 999.* raise borders=\(800"):
        DyMO(tiny.brightness)(pipe, tiny.PROMPT, graph=GRAPH, generator=generator(), **call)
    # What it says helps.
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        DyMO(tiny.brightness, borders=(1000, 1000), damping=0)(pipe, tiny.PROMPT, graph=GRAPH, generator=generator(), **call)


def test_the_masks_of_several_ip_adapters_are_no_rows():
    """In one tensor, as many as rows of guidance: they are as in a list, where the conditional rows run alone too."""
    half = torch.zeros(2, 1, zoo.SIZE, zoo.SIZE)
    half[0, ..., : zoo.SIZE // 2] = half[1, ..., zoo.SIZE // 2 :] = 1
    torch.manual_seed(0)
    pipe = zoo.ip_adapter(zoo.sd(image_encoder=zoo.image_encoder()), count=2)

    def run(masks, **settings):
        call = dict(ip_adapter_image=[zoo.IMAGE] * 2, num_inference_steps=6, output_type="pt", cross_attention_kwargs={"ip_adapter_masks": masks})
        return DyMO(tiny.brightness, **settings)(pipe, tiny.PROMPT, generator=torch.Generator().manual_seed(0), **zoo.SQUARE, **call)

    for settings in ({}, {"checkpointing": True}):
        found = run(half, **settings)
        assert found.trace.steps[0].stage == "semantic"
        assert torch.equal(found.images, run([half[:1], half[1:]], **settings).images)


def test_a_call_without_a_step_is_told():
    call = {**tiny.SMALL, "denoising_end": 0.1, "output_type": "latent"}
    with pytest.warns(RuntimeWarning, match="has taken no step"):
        found = DyMO(tiny.brightness)(tiny.sdxl(), tiny.PROMPT, generator=torch.Generator().manual_seed(0), **call)
    assert not found.trace.steps
    assert torch.equal(found.images, tiny.sdxl()(tiny.PROMPT, generator=torch.Generator().manual_seed(0), **call).images)
