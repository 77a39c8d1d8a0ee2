"""Pipelines of few steps: steered from the first step on, and never without the reward."""

import pytest
import tiny
import torch
from diffusers import (
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    TCDScheduler,
)

from dymo import Budget, DyMO
from dymo.errors import ConfigError, PipelineError
from dymo.events import Evaluated
from dymo.rewards import FunctionReward


def redness(images, prompts):
    return 5 * images[:, 0].mean((1, 2))


REWARD = FunctionReward(redness)
CALL = dict(guidance_scale=1.0, output_type="pt")


def pipe_with(kind):
    pipe = tiny.sd()
    pipe.scheduler = kind.from_config(pipe.scheduler.config)
    return pipe


def red(output):
    return output.images[:, 0].mean().item()


@pytest.mark.parametrize("kind, steps", [(LCMScheduler, 1), (LCMScheduler, 3), (TCDScheduler, 2), (EulerDiscreteScheduler, 1)])
def test_the_reward_acts_at_every_step_and_one_step_is_better_for_it(kind, steps):
    pipe = pipe_with(kind)
    call = {**CALL, "num_inference_steps": steps}
    aligner = DyMO(REWARD, semantic_weight=0.0, damping=0.0, max_step=0.5, updates=4, draws=1)
    made = aligner(pipe, tiny.PROMPT, generator=torch.Generator().manual_seed(0), **call)
    if steps == 1:
        assert red(made) > red(pipe(tiny.PROMPT, generator=torch.Generator().manual_seed(0), **call))
    trace = made.trace
    assert [step.recurrences[0] for step in trace.steps] == [4, 1, 1][:steps] and not trace.failures
    assert all(step.weights["preference"][0] > 0 for step in trace.steps)


@pytest.mark.parametrize("steps", [1, 4])
def test_the_pipeline_of_latent_consistency_models_is_steered_too(steps):
    """It unpacks two latents from each step, and decodes the second, x0."""
    pipe = tiny.sd(LatentConsistencyModelPipeline, unet=tiny.unet(time_cond_proj_dim=8), scheduler_kind=LCMScheduler)
    call = dict(num_inference_steps=steps, height=32, width=32, output_type="pt")
    plain = pipe(tiny.PROMPT, generator=torch.Generator().manual_seed(0), **call).images
    guided = DyMO(REWARD)(pipe, tiny.PROMPT, generator=torch.Generator().manual_seed(0), **call)
    assert guided.trace.evaluations[0] > steps, "steered as a run of few steps"
    assert redness(guided.images, None) > redness(plain, None)


def test_both_objectives_act_until_the_last_border_and_a_budget_is_kept():
    pipe = pipe_with(LCMScheduler)
    made = DyMO(REWARD, preset="fast")(pipe, tiny.PROMPT, num_inference_steps=3, budget=Budget(evaluations=14), **CALL)
    first, *_, last = made.trace.steps
    both, alone = {"semantic", "preference"}, {"preference"}
    assert first.stage == "mixed" and last.stage == "preference"
    assert all(set(s.weights) == (both if s.stage == "mixed" else alone) for s in made.trace.steps)
    assert 9 <= made.trace.evaluations[0] <= 14


def test_with_guidance_or_many_steps_the_method_is_the_papers():
    pipe = pipe_with(EulerDiscreteScheduler)
    guided = DyMO(REWARD, preset="fast")(pipe, tiny.PROMPT, num_inference_steps=4, guidance_scale=3.0)
    many = DyMO(REWARD, preset="fast")(pipe, tiny.PROMPT, num_inference_steps=9, guidance_scale=1.0)
    assert all(set(made.trace.steps[0].weights) == {"semantic"} for made in (guided, many))


def test_a_sampler_that_evaluates_twice_is_refused_where_few_steps_are_asked_for():
    pipe = pipe_with(HeunDiscreteScheduler)
    with pytest.raises(ConfigError, match="few_steps='always': HeunDiscreteScheduler evaluates the denoiser twice"):
        DyMO(REWARD, few_steps="always")(pipe, tiny.PROMPT, num_inference_steps=3, **CALL)


def test_a_single_step_takes_the_whole_budget():
    found = DyMO(REWARD, "fast")(tiny.sd(), tiny.PROMPT, num_inference_steps=1, budget=Budget(evaluations=13), **CALL)
    assert 12 <= found.trace.evaluations[0] <= 13


def test_at_few_steps_the_gradient_of_a_preset_goes_through_the_denoiser_and_the_user_s_as_he_says():
    def backwards(**settings):
        found = DyMO(REWARD, "fast", semantic_weight=0, updates=2, draws=0, **settings)(tiny.sd(), tiny.PROMPT, num_inference_steps=2, **CALL)
        return found.trace.cost.denoiser_backwards

    assert backwards() == backwards(gradient="full") > 0 == backwards(gradient="straight-through")


def test_a_budget_that_is_gone_leaves_the_steps_unguided_and_one_of_bytes_compares_draws():
    pipe, call = pipe_with(LCMScheduler), {**CALL, "num_inference_steps": 4}
    aligner = DyMO(REWARD, semantic_weight=0, updates=4, draws=1)

    def run(**more):
        return aligner(pipe, tiny.PROMPT, generator=torch.Generator().manual_seed(0), **call, **more).trace

    with pytest.warns(RuntimeWarning, match="seconds do not suffice: the remaining steps are left unguided"):
        late = run(budget=Budget(seconds=1e-6))
    assert late.failures == {"budget": 4} and late.evaluations == [4] and late.cost.denoiser_backwards == 0
    assert [(s.stage, s.unguided, s.recurrences) for s in late.steps] == [("unguided", ["budget"], [0])] * 4
    with pytest.warns(RuntimeWarning, match="bytes do not suffice for a gradient: draws are compared"):
        small = run(budget=Budget(bytes=1))
    free = run()
    mixed = [s.stage for s in free.steps].count("mixed")
    assert free.failures == {} and small.failures == {"budget": mixed - 1} and small.cost.denoiser_backwards == 1
    assert [s.stage for s in small.steps] == ["mixed"] + ["preference"] * 3
    assert [s.recurrences for s in small.steps] == [s.recurrences for s in free.steps] == [[4], [1], [1], [1]]


def test_the_trace_has_the_gradient_that_was_taken_and_the_run_can_be_made_again_from_it():
    def run(*preset, **settings):
        generator = torch.Generator().manual_seed(0)
        return DyMO(REWARD, *preset, **settings)(pipe_with(LCMScheduler), tiny.PROMPT, num_inference_steps=3, generator=generator, **CALL)

    few = dict(updates=4, draws=2)
    made, asked = run("fast", **few), run("fast", gradient="straight-through", **few)
    assert made.trace.config["gradient"] == "full" and asked.trace.config["gradient"] == "straight-through"
    assert not torch.equal(made.images, asked.images)
    for found in (made, asked):
        again = run(**{**found.trace.config, "scouts": 0})  # of few steps there are none
        assert torch.equal(again.images, found.images) and again.trace.config == {**found.trace.config, "scouts": 0}


def test_the_gradient_of_few_steps_is_checked_as_it_is_taken():
    pipe, told = pipe_with(LCMScheduler), []
    pipe._all_hooks = [object()]  # model offload
    with pytest.raises(PipelineError, match=r"enable_model_cpu_offload.*preview_vae"):
        DyMO(REWARD, "fast")(pipe, tiny.PROMPT, num_inference_steps=3, listeners=[told.append], **CALL)
    assert not any(isinstance(event, Evaluated) for event in told)
