"""The front door: what it refuses, and what it does when a gradient cannot be used."""

import dataclasses
import functools
import json
import warnings

import numpy as np
import pytest
import tiny
import torch
from diffusers import DPMSolverSinglestepScheduler, StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_output import StableDiffusionPipelineOutput

from dymo import Budget, ConfigError, DyMO, PipelineError, PromptError, RewardError, Trace
from dymo.compiling import Compiling
from dymo.config import PRESETS
from dymo.errors import PromptWarning
from dymo.events import Accepted
from dymo.methods import load_method


def run(aligner, pipe=None, prompt=tiny.PROMPT, **more):
    generator = torch.Generator().manual_seed(0)
    return aligner(pipe or tiny.sd(), prompt, generator=generator, **{**tiny.SMALL, **more})


@pytest.mark.parametrize("prompt", ["", "   "])
def test_an_empty_prompt(prompt):
    with pytest.raises(PromptError, match="empty"):
        run(DyMO(tiny.brightness), prompt=prompt)
    found = run(DyMO(tiny.brightness, semantic_weight=0, recurrences=0), prompt=prompt)
    assert found.trace.steps[-1].displacement[0] > 0 and found.trace.graphs == [None]


@pytest.mark.parametrize("prompt, changes", [("a red apple and a car", False), ("two red apples and a car", True)])
def test_numerals_steer_only_if_asked_and_only_where_there_are_some(prompt, changes):
    first, second = (run(DyMO(None, recurrences=0, numerals=n), prompt=prompt, output_type="latent").images for n in (False, True))
    assert torch.equal(first, second) != changes


def test_p15_a_prompt_that_cannot_be_read_does_not_refuse_the_batch():
    with pytest.warns(PromptWarning, match="the prompt is empty.*without the semantic objective"):
        trace = run(DyMO(None, recurrences=0), prompt=[tiny.PROMPT, ""]).trace
    first = trace.steps[0]
    assert first.displacement[0] > 0 == first.displacement[1] and trace.graphs[1] is None


def test_p15_a_score_that_is_not_finite_leaves_its_own_sample_unguided():
    def reward(images, prompts):
        return images.mean((1, 2, 3)) * torch.tensor([float("nan"), 1.0])

    with pytest.warns(RuntimeWarning, match="nan"):
        trace = run(DyMO(reward, semantic_weight=0, borders=(1000, 1000), recurrences=0), prompt=[tiny.PROMPT] * 2).trace
    assert all(step.displacement[0] == 0 < step.displacement[1] for step in trace.steps)
    assert trace.failures == {"nan": 4} and trace.steps[0].reward[0] is None


def test_a_graph_whose_words_are_not_in_the_prompt():
    with pytest.raises(PromptError, match="zebra"):
        run(DyMO(tiny.brightness), graph={"prompt": tiny.PROMPT, "entities": [{"text": "zebra"}]})
    with pytest.raises(PromptError, match="a blue fish"):
        run(DyMO(tiny.brightness), graph={"prompt": "a blue fish", "entities": [{"text": "fish"}]})


def test_a_prompt_longer_than_the_window_is_refused_or_reported():
    long = tiny.PROMPT + " and a small yellow umbrella with a long wooden handle"
    graph = {"prompt": long, "entities": [{"text": "apple"}, {"text": "car"}, {"text": "umbrella"}, {"text": "handle"}]}
    with pytest.raises(PromptError, match="window of 48 tokens.*handle"):
        run(DyMO(tiny.brightness, truncation="error"), prompt=long, graph=graph)
    output = run(DyMO(tiny.brightness, truncation="report", recurrences=0), prompt=long, graph=graph)
    assert "handle" in output.trace.truncated[0]


def test_a_scheduler_that_cannot_be_steered_is_refused_with_the_remedy():
    pipe = tiny.sd()
    pipe.scheduler = DPMSolverSinglestepScheduler.from_config(pipe.scheduler.config)
    with pytest.raises(PipelineError, match=r"DPMSolverSinglestepScheduler.*DPMSolverMultistepScheduler"):
        run(DyMO(tiny.brightness), pipe)


def test_an_outer_inference_mode_is_refused_and_an_outer_no_grad_is_not():
    aligner = DyMO(tiny.brightness, recurrences=0)
    with torch.inference_mode(), pytest.raises(PipelineError, match="inference_mode"):
        run(aligner)
    with torch.no_grad():
        assert run(aligner).trace.steps[-1].displacement[0] > 0


def test_a_cached_or_compiled_or_fused_denoiser_is_refused():
    pipe = tiny.sd()
    pipe.unet = torch.compile(pipe.unet, backend="eager")
    with pytest.raises(PipelineError, match="compiled"):
        run(DyMO(tiny.brightness), pipe)
    pipe = tiny.sd()
    pipe.unet.compile(backend="eager")
    with pytest.raises(PipelineError, match="compiled"):
        run(DyMO(tiny.brightness), pipe)
    pipe = tiny.sd()
    pipe.fuse_qkv_projections(vae=False)
    with pytest.raises(PipelineError, match="unfuse_qkv_projections"):
        run(DyMO(tiny.brightness), pipe)
    pipe = tiny.sd()
    from diffusers.hooks import HookRegistry, ModelHook

    HookRegistry.check_if_exists_or_initialize(pipe.unet.mid_block).register_hook(ModelHook(), "fbc_block_hook")
    with pytest.raises(PipelineError, match="fbc_block_hook"):
        run(DyMO(tiny.brightness), pipe)


def test_model_offload_is_refused_where_it_would_evict_the_denoiser():
    pipe = tiny.sd()
    pipe._all_hooks = [object()]
    with pytest.raises(PipelineError, match="preview_vae"):
        run(DyMO(tiny.brightness), pipe)


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        (lambda images, prompts: images.mean(), r"\(\) for 1 images.*\(1,\)"),
        (lambda images, prompts: images.mean((1, 2, 3)).detach(), "no gradient"),
        (lambda images, prompts: 0.5, "float"),
    ],
)
def test_a_reward_that_returns_the_wrong_thing(reward, said):
    pipe = tiny.sd()
    plain = pipe(tiny.PROMPT, generator=torch.Generator().manual_seed(0), **tiny.SMALL).images
    with pytest.raises(RewardError, match=said):
        run(DyMO(reward), pipe)
    assert torch.equal(pipe(tiny.PROMPT, generator=torch.Generator().manual_seed(0), **tiny.SMALL).images, plain)


def test_a_size_the_vae_cannot_decode():
    with pytest.raises(ValueError, match="divisible by 8"):
        run(DyMO(tiny.brightness), height=63)


def test_settings_out_of_range_name_the_value():
    with pytest.raises(ConfigError, match="unknown preset 'turbo'.*'paper'"):
        DyMO(tiny.brightness, preset="turbo")
    with pytest.raises(ConfigError, match="unknown setting 'etta'"):
        DyMO(tiny.brightness, etta=1.0)
    for name, value in (
        ("eta", -1.0),
        ("gradient", "half"),
        ("borders", (1, 2)),
        ("views", 0),
        ("k", 0.0),
        ("h", (1, 2)),
        ("map_size", True),
        ("recurrences", True),
        ("scouts", 1.5),
    ):
        with pytest.raises(ConfigError, match=name):
            DyMO(tiny.brightness, **{name: value})
    with pytest.raises(RewardError, match="unknown reward 'nothing-of-this-name'"):
        DyMO("nothing-of-this-name")


def test_what_to_give_for_the_stages_is_said():
    with pytest.raises(ConfigError, match=r"eta=\(1, 2\): give a number, or 3 numbers, one a stage, none of them negative, as \(0.3, 0.08, 0.02\)"):
        DyMO(tiny.brightness, eta=(1, 2))


def test_numbers_of_numpy_are_plain_ones_afterwards():
    given = dict(eta=np.float32(0.5), k=np.float32(2), scouts=np.int64(2), map_size=np.int64(8), borders=(np.float64(700), 400))
    config = DyMO(tiny.brightness, **given).config
    assert config.eta == (0.5, 0.5, 0.5) and config.borders == (700.0, 400.0)
    assert all(type(getattr(config, name)) is kind for name, kind in (("k", float), ("scouts", int), ("map_size", int)))
    assert json.loads(json.dumps(dataclasses.asdict(config)))["scouts"] == 2


def test_a_part_of_a_pipeline_is_told_from_a_pipeline():
    with pytest.raises(PipelineError, match="UNet2DConditionModel is a model alone: give the whole pipeline"):
        run(DyMO(None), tiny.sd().unet)


@pytest.mark.parametrize("name", ["budget", "graph", "listeners", "num_inference_steps"])
def test_an_argument_of_the_call_in_the_constructor(name):
    with pytest.raises(ConfigError, match=rf"{name}= is an argument of the call.*aligner\(pipe, prompt, {name}=...\)"):
        DyMO(tiny.brightness, **{name: None})


def test_a_misspelt_setting_is_told_the_like():
    with pytest.raises(ConfigError, match=r"unknown setting 'recurences' \(did you mean 'recurrences'\?\)"):
        DyMO(tiny.brightness, recurences=2)


@pytest.mark.parametrize(
    "name, said",
    [
        (
            "num_inference_step",
            r"StableDiffusionPipeline has no argument 'num_inference_step' \(did you mean 'num_inf\w+s'",
        ),
        ("buget", r"did you mean 'budget'"),
        ("max_recurrences", r"a setting of DyMO\(..., max_recurrences=...\)"),
        ("quality", r"no argument 'quality': it takes prompt, "),
    ],
)
def test_an_argument_that_the_pipeline_would_swallow_is_refused(name, said):
    with pytest.raises(ConfigError, match=said):
        run(DyMO(None), **{name: 5})


def test_the_deprecated_callback_still_reaches_the_pipeline():
    seen = []
    aligner = DyMO(None, semantic_weight=0)
    with pytest.warns(FutureWarning, match="callback"):
        run(aligner, callback=lambda step, timestep, latents: seen.append(step), callback_steps=2)
    assert seen == [0, 2]


def test_p3_the_deprecated_callback_counts_steps_and_not_evaluations():
    seen = []
    with pytest.warns(FutureWarning, match="callback"):
        run(
            DyMO(tiny.brightness, recurrences=2), callback_steps=2,
            callback=lambda step, timestep, latents: seen.append((step, latents.requires_grad)),
        )  # fmt: skip
    assert seen == [(0, False), (2, False)]


def test_a_pipeline_whose_loop_is_elsewhere_is_refused():
    class Own(type(tiny.sd())):
        def __call__(self, *given, shade=0.0, **more):
            return type(self).__mro__[1].__call__(self, *given, **more)

    with pytest.raises(PipelineError, match=r"Own.__call__ has no loop of its own"):
        run(DyMO(tiny.brightness), tiny.sd(Own), shade=0.5)


@pytest.mark.parametrize("decorated", [False, True])
def test_a_subclass_that_sets_arguments_and_calls_its_parent_is_steered_with_what_reaches_the_loop(decorated):
    parent, seen = StableDiffusionPipeline, []

    class Preset(parent):
        def encode_prompt(self, *given, **more):
            seen.append("encode")
            return super().encode_prompt(*given, **more)

        def __call__(self, prompt, shade=0.0, **more):
            """Another prompt, other steps, no guidance, a callback and a seed of its own."""
            seen.append(shade)
            assert super().check_inputs and torch.is_grad_enabled() is not decorated and list(enumerate("a"))
            more |= dict(num_inference_steps=3, guidance_scale=1.0, generator=torch.Generator().manual_seed(5))
            found = super().__call__(f"{prompt} and a red car", callback_on_step_end=noted, **more)
            again = StableDiffusionPipelineOutput(found.images, None)
            again.shade = shade
            return again

        if decorated:
            __call__ = torch.no_grad()(__call__)

    class Twice(Preset):
        def __call__(self, *given, **more):
            return super().__call__(*given, shade=0.5, **more)

    def noted(pipe, index, t, found):
        seen.append(index)
        return found

    settings = dict(recurrences=1, borders_by="progress", borders=(0.0, 0.0), semantic_weight=0, damping=0.0, few_steps="never")
    direct = dict(num_inference_steps=3, guidance_scale=1.0)
    pipe, text = tiny.sd(Twice), f"{tiny.PROMPT} and a red car"
    found = DyMO(tiny.brightness, **settings)(pipe, tiny.PROMPT, **{**tiny.SMALL, "num_inference_steps": 7})
    wanted = DyMO(tiny.brightness, **settings)(tiny.sd(), text, **tiny.SMALL | direct, generator=torch.Generator().manual_seed(5))
    assert torch.equal(found.images, wanted.images) and found.trace.texts == [text] and found.shade == 0.5
    assert seen == [0.5, "encode", 0, 1, 2] and found.trace.evaluations == [6]
    still = DyMO(None, semantic_weight=0)(pipe, tiny.PROMPT, **tiny.SMALL)
    assert torch.equal(still.images, pipe(tiny.PROMPT, **tiny.SMALL).images)


def test_a_subclass_that_does_not_come_to_its_parents_call_is_told_so():
    class Empty(StableDiffusionPipeline):
        def __call__(self, *given, **more):
            return None if more else super().__call__(*given)

    with pytest.raises(PipelineError, match=r"Empty.__call__ has not called super\(\).__call__.*use StableDiffusionPipeline"):
        run(DyMO(tiny.brightness), tiny.sd(Empty))


def test_a_subclass_that_calls_its_parent_again_is_refused_there_and_plain_calls_are_counted_all():
    class Finer(StableDiffusionPipeline):
        def __call__(self, *given, **more):
            draft = super().__call__(*given, **more)
            return super().__call__(*given, **more | {"num_inference_steps": 2, "guidance_scale": 1 + draft.images.mean().item()})

    pipe = tiny.sd(Finer)
    reno = load_method("reno", iterations=1)
    for start in (lambda: run(DyMO(tiny.brightness), pipe), lambda: reno.run(pipe, "a cat", tiny.brightness, **tiny.SMALL)):
        with pytest.raises(PipelineError, match=r"Finer.__call__ calls super\(\).__call__ again.*one by one, each by a StableDiffusionPipeline"):
            start()
    found = load_method("plain").run(pipe, tiny.PROMPT, generator=torch.Generator().manual_seed(0), **tiny.SMALL)
    assert found.trace.evaluations == [tiny.SMALL["num_inference_steps"] + 2]
    assert torch.equal(found.images, pipe(tiny.PROMPT, generator=torch.Generator().manual_seed(0), **tiny.SMALL).images)


def test_layers_are_compared_in_the_call_that_a_subclass_hands_on():
    class Preset(StableDiffusionPipeline):
        def __call__(self, prompt, **more):
            found = super().__call__(f"{prompt} and a blue fish", num_inference_steps=3, **more)
            return [picture.resize((8, 8)) for picture in found.images]  # of latents there are none

    said, call = f"{tiny.PROMPT} and a blue fish", {"height": 32, "width": 32}
    graph = {"prompt": said, "entities": [{"text": "fish", "attributes": ["blue"]}]}
    found = DyMO(None).layers(tiny.sd(Preset), tiny.PROMPT, graph=graph, **call)
    assert found == DyMO(None).layers(tiny.sd(), said, graph=graph, num_inference_steps=3, **call)


def test_a_decorator_whose_work_would_be_left_out_is_refused():
    def halved(call):
        @functools.wraps(call)
        def found(self, *given, **more):
            return call(self, *given, **more | {"num_inference_steps": 2})

        return found

    class Around(StableDiffusionPipeline):
        @halved
        def __call__(self, *given, **more):
            return super().__call__(*given, **more)

    class Alone(StableDiffusionPipeline):
        __call__ = halved(StableDiffusionPipeline.__call__)

    for kind in (Around, Alone):
        with pytest.raises(PipelineError, match=r"__call__ is decorated by .*halved, whose work would be left out.*take the decorator off"):
            run(DyMO(tiny.brightness), tiny.sd(kind))


def test_the_reference_s_step_needs_guidance():
    with pytest.raises(ConfigError, match="step_rule='residual'.*guidance_scale= above 1"):
        run(DyMO(None, preset="official-sd15"), guidance_scale=1.0)


@pytest.mark.parametrize(
    "name",
    ["clamp", "checkpointing", "record_maps", "weights_have_gradient", "fresh_views", "wholes_and_parts", "numerals",
     "free_text_encoders", "resolution_shift"],
)  # fmt: skip
def test_a_switch_is_true_or_false(name):
    with pytest.raises(ConfigError, match=f"{name}='no': give True or False"):
        DyMO(tiny.brightness, **{name: "no"})


@pytest.mark.parametrize(
    "call, said",
    [
        ({"prompt": 3}, "prompt=3: give a string, or a list of strings"),
        ({"listeners": print}, r"listeners=<built-in function print>: give a list, as listeners=\[print\]"),
        ({"listeners": [3]}, r"listeners=\[3\]: it cannot be called"),
        ({"prompt": tiny.sd()}, r"prompt= is a StableDiffusionPipeline: the pipeline comes first, aligner\(pipe, prompt\)"),
        ({"cancel": True}, "cancel=True: give a threading.Event"),
        ({"generator": 3}, r"generator=3: give torch.Generator\(\).manual_seed\(3\), or a list"),
        ({"generator": [None]}, r"generator=\[None\]: give torch.Generator"),
    ],
)
def test_what_cannot_be_called_with_is_refused(call, said):
    with pytest.raises((ConfigError, PromptError), match=said):
        DyMO(tiny.brightness)(tiny.sd(), **{"prompt": tiny.PROMPT, **call}, **tiny.SMALL)


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"preview_vae": "madebyollin/taesd"}, r"preview_vae='madebyollin/taesd': give the loaded VAE, as AutoencoderTiny.from_pretrained\("),
        ({"objectives": [3]}, r"objectives=\[3\]: give objects like"),
        ({"compile": "grphs"}, r"compile='grphs': torch has no such backend \(did you mean 'graphs'\?\)"),
        ({"compile": "graphs+inducter"}, r"no such backend \(did you mean 'inductor'\?\)"),
    ],
)
def test_what_an_aligner_cannot_be_made_of_is_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        DyMO(tiny.brightness, **settings)


def test_a_prompt_without_pairs_beside_one_that_has_some_is_no_failure():
    """Nothing is to be drawn together in "a cat": its steps of the words are left as they are, and that is told nowhere."""
    aligner = DyMO(None, borders=(1, 1), recurrences=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        both = aligner(tiny.sd(), ["a cat", tiny.PROMPT], generator=[torch.Generator().manual_seed(i) for i in (0, 1)], **tiny.SMALL)
    alone = aligner(tiny.sd(), "a cat", generator=torch.Generator().manual_seed(0), **tiny.SMALL)
    assert both.trace.failures == alone.trace.failures == {}
    assert [step.weights["semantic"] for step in both.trace.steps] == [[0.0, 1.0]] * 4
    torch.testing.assert_close(both.images[:1], alone.images, atol=1e-4, rtol=0)


@pytest.mark.parametrize("number", [0, -1, 1.5])
def test_no_pictures_of_a_prompt_are_refused(number):
    with pytest.raises(ConfigError, match=rf"num_images_per_prompt={number}: give a whole number above 0"):
        run(DyMO(None), num_images_per_prompt=number)


def test_the_aligner_and_its_trace_are_shown_in_a_line():
    assert (
        repr(DyMO(tiny.brightness, preset="fast", eta=0.2))
        == "DyMO(reward='brightness', preset='fast', eta=(0.2, 0.2, 0.2))"
    )
    held_out = DyMO(tiny.brightness, watch=lambda images, prompts: 0, on_hacking="stop", preview_vae=tiny.vae())
    assert repr(held_out) == (
        "DyMO(reward='brightness', preset='default', watch=['<lambda>'], on_hacking='stop', preview_vae='AutoencoderKL')"
    )
    trace = Trace(prompts=[tiny.PROMPT] * 20, evaluations=[7] * 20)
    assert repr(trace).startswith(f"Trace(prompts=['{tiny.PROMPT}', ") and len(repr(trace)) < 250
    assert repr(trace).endswith("steps=0, evaluations=[7, 7, 7, 7, ...], seconds=0.0)")


def test_presets_are_hashable_and_differ():
    assert len(set(PRESETS.values())) == len(PRESETS)


def test_a_bad_gradient_leaves_the_step_unguided_is_counted_and_said_once():
    class Poison(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.mean((1, 2, 3))

        @staticmethod
        def backward(ctx, grad):
            return torch.full((len(grad), 3, 32, 32), float("nan"))

    pipe = tiny.sd()
    plain = pipe(tiny.PROMPT, generator=torch.Generator().manual_seed(0), **tiny.SMALL).images
    with pytest.warns(RuntimeWarning, match="nan") as said:
        output = run(DyMO(lambda images, prompts: Poison.apply(images), semantic_weight=0, borders=(1000, 1000)), pipe)
    assert len([w for w in said if issubclass(w.category, RuntimeWarning)]) == 1
    assert output.trace.failures == {"nan": 4}
    assert torch.equal(output.images, plain)
    text = output.trace.to_json()
    assert Trace.from_json(text).to_json() == text


def test_an_exactly_zero_gradient_of_one_sample_leaves_the_others_guided():
    def reward(images, prompts):
        return images.mean((1, 2, 3)) * torch.tensor([0.0, 1.0])

    with pytest.warns(RuntimeWarning, match="zero"):
        output = run(
            DyMO(reward, semantic_weight=0, borders=(1000, 1000), recurrences=0), prompt=[tiny.PROMPT, tiny.PROMPT]
        )
    moved = [step.displacement for step in output.trace.steps]
    assert all(first == 0 and second > 0 for first, second in moved)
    assert output.trace.failures == {"zero": 4}


def test_the_budget_is_kept_and_the_trajectory_is_whole():
    aligner = DyMO(tiny.brightness, recurrences=5)
    for most in (4, 6, 11):
        output = run(aligner, budget=Budget(evaluations=most))
        assert output.trace.evaluations[0] <= most
        assert len(output.trace.steps) == 4
    assert output.trace.evaluations[0] > 4
    with pytest.raises(ConfigError, match=r"3.*4 steps"):
        run(aligner, budget=Budget(evaluations=3))


def test_a_budget_is_a_budget():
    with pytest.raises(ConfigError, match=r"budget=7: give Budget\(evaluations=100\)"):
        run(DyMO(tiny.brightness), budget=7)


def test_a_budget_of_seconds_that_is_gone_leaves_the_rest_unguided():
    with pytest.warns(RuntimeWarning, match="seconds do not suffice: the remaining steps are left unguided"):
        output = run(DyMO(tiny.brightness, recurrences=0), budget=Budget(seconds=1e-6))
    assert len(output.trace.steps) == 4
    assert [step.unguided[0] for step in output.trace.steps] == ["budget"] * 4
    assert output.trace.failures["budget"] == 4


def test_a_step_that_nothing_would_guide_is_not_said_to_lack_seconds():
    aligner = DyMO(tiny.brightness, semantic_weight=0, borders=(0, 0), recurrences=0)  # the stage of the words alone
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "the budget's seconds")
        warnings.filterwarnings("ignore", "the reward is used at none")
        assert run(aligner, budget=Budget(seconds=1e-6)).trace.failures == {}


def test_a_budget_of_bytes_leaves_the_denoiser_out_of_the_gradient_and_then_the_guidance():
    aligner = DyMO(tiny.brightness, semantic_weight=0, borders=(1000, 1000), recurrences=0)
    free = run(aligner, height=64, width=64).trace
    held = run(aligner, height=64, width=64, budget=Budget(bytes=8_000_000)).trace
    assert free.cost.denoiser_backwards == 8 and held.cost.denoiser_backwards == 2 and held.failures == {}
    with pytest.warns(RuntimeWarning, match="bytes do not suffice"):
        none = run(aligner, height=64, width=64, budget=Budget(bytes=1000)).trace
    assert [step.stage for step in none.steps] == ["preference"] * 2 + ["unguided"] * 2


def test_semantic_stages_decode_nothing_and_straight_through_differentiates_no_denoiser():
    semantic = run(DyMO(None, recurrences=0)).trace.cost
    assert semantic.decodes == semantic.reward_calls == 0 < semantic.denoiser_backwards
    cost = run(DyMO(tiny.brightness, semantic_weight=0, gradient="straight-through", recurrences=0)).trace.cost
    assert cost.denoiser_backwards == 0 < cost.decodes


def test_views_are_counted():
    cost = run(DyMO(tiny.brightness, semantic_weight=0, views=3, recurrences=0)).trace.cost
    assert cost.reward_calls == 3 * cost.decodes


def test_listeners_hear_every_step():
    seen = []
    output = run(DyMO(tiny.brightness, recurrences=1), listeners=[seen.append])
    kinds = [type(event).__name__ for event in seen]
    assert kinds[0] == "Started" and kinds[-1] == "Finished" and kinds.count("Evaluated") == 8
    accepted = [event for event in seen if isinstance(event, Accepted)]
    assert [event.step for event in accepted] == output.trace.steps
    assert accepted[-1].preview().shape == (1, 3, 32, 32)
    assert seen[0].steps == 4 and seen[-1].trace is output.trace


def test_the_maps_of_the_graph_s_words_are_in_the_trace():
    assert run(DyMO(None, recurrences=0)).trace.maps == {}  # only on demand
    trace = run(DyMO(None, recurrences=0, record_maps=True)).trace
    index = next(s.index for s in trace.steps if s.stage == "mixed")
    assert set(trace.maps[index]) == {"0:red", "0:apple", "0:green", "0:car"}
    assert max(max(row) for row in trace.maps[index]["0:red"]) == 1
    assert json.loads(trace.to_json())["maps"]


@pytest.mark.parametrize(
    "said, backend, graphs",
    [(False, None, False), (True, "inductor", False), ("eager", "eager", False), ("graphs", None, True), ("graphs+inductor", "inductor", True)],
)
def test_what_compile_asks_for(said, backend, graphs):
    found = Compiling.read(said)
    assert (found.backend, found.graphs, found.said) == (backend, graphs, said)
