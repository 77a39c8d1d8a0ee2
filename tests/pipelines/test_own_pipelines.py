"""Pipelines of users' own: those of diffusers' community, with a loop, a progress bar and a guidance of their own."""

from __future__ import annotations

import pytest
import tiny
import torch
import zoo
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_output import StableDiffusionPipelineOutput

from dymo import DyMO, PipelineError, SemanticGraph

GRAPH = SemanticGraph.from_json(
    {"prompt": tiny.PROMPT, "entities": [{"text": "apple", "attributes": ["red"]}, {"text": "car", "attributes": ["green"]}]}
)
GUIDED = DyMO(tiny.brightness, recurrences=1, borders_by="progress", borders=(0.0, 1.0), damping=0.0, k=1.0, few_steps="never")
CALL = dict(num_inference_steps=3)


class Community(DiffusionPipeline):
    """In the manner of `lpw_stable_diffusion`: guidance is a local of the call, and the bar lies around the timesteps."""

    def __init__(self, vae, text_encoder, tokenizer, unet, scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False):
        super().__init__()
        self.register_modules(vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler)
        self.vae_scale_factor = 4

    prepare_latents = StableDiffusionPipeline.prepare_latents

    def encoded(self, text):
        ids = self.tokenizer(text, padding="max_length", return_tensors="pt").input_ids
        return self.text_encoder(ids)[0]

    def begin(self, generator):
        return self.prepare_latents(1, 4, 64, 64, torch.float32, torch.device("cpu"), generator)

    @torch.no_grad()
    def __call__(self, prompt, num_inference_steps=50, guidance_scale=7.5, generator=None):
        guided = guidance_scale > 1
        states = torch.cat([self.encoded(""), self.encoded(prompt)]) if guided else self.encoded(prompt)
        self.scheduler.set_timesteps(num_inference_steps)
        timesteps, latents = self.scheduler.timesteps, self.begin(generator)
        for _i, t in enumerate(self.progress_bar(timesteps)):
            latents = self.denoised(latents, t, states, guidance_scale if guided else 1.0)
        return StableDiffusionPipelineOutput(self.vae.decode(latents / self.vae.config.scaling_factor).sample, None)

    def denoised(self, latents, t, states, scale):
        found = self.unet(torch.cat([latents] * len(states)), t, encoder_hidden_states=states).sample.chunk(len(states))
        return self.scheduler.step(found[0] + scale * (found[-1] - found[0]), t, latents).prev_sample


class Told(Community):
    """The rows of its denoiser are told as DyMO's message says."""

    do_classifier_free_guidance = property(lambda self: True)
    guidance_scale = 7.5


def made(kind):
    return zoo.seeded(lambda: zoo.sd(kind))()


def run(aligner, pipe):
    return aligner(pipe, tiny.PROMPT, graph=GRAPH, generator=torch.Generator().manual_seed(0), **CALL)


def test_a_community_pipeline_is_steered_once_its_class_tells_its_guidance():
    with pytest.raises(PipelineError, match=r"no property do_classifier_free_guidance.*give its class that property"):
        run(GUIDED, made(Community))
    pipe = made(Told)
    plain = pipe(tiny.PROMPT, generator=torch.Generator().manual_seed(0), **CALL).images
    guided = run(GUIDED, pipe)
    assert guided.trace.evaluations == [6] and not torch.equal(guided.images, plain)
    assert all(step.displacement[0] > 0 and set(step.losses) == {"semantic", "preference"} for step in guided.trace.steps)
    assert torch.equal(run(DyMO(None, semantic_weight=0), pipe).images, plain)


def test_latents_of_nowhere_and_a_loop_elsewhere_are_refused_with_what_to_do():
    class Unprepared(Told):
        def begin(self, generator):
            return torch.randn(1, 4, 16, 16, generator=generator)

    class Elsewhere(Told):
        """The loop that is enumerated is another."""

        @torch.no_grad()
        def __call__(self, prompt, num_inference_steps=50, generator=None):
            states = torch.cat([self.encoded(text) for _i, text in enumerate(["", prompt])])
            self.scheduler.set_timesteps(num_inference_steps)
            latents = self.begin(generator)
            for t in self.scheduler.timesteps:
                latents = self.denoised(latents, t, states, 7.5)

    said = {Unprepared: "has not made its latents by a method prepare_latents", Elsewhere: r"outside of a loop over enumerate\(timesteps\)"}
    for kind, reason in said.items():
        pipe = made(kind)
        with pytest.raises(PipelineError, match=f"{kind.__name__}.*{reason}"):
            run(GUIDED, pipe)
        assert not {"step", "set_timesteps"} & set(vars(pipe.scheduler)) and "forward" not in vars(pipe.unet)
