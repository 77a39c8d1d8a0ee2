"""The relatives of pipelines that have a full case: untouched where nothing is asked, guided where it is, as before afterwards."""

from __future__ import annotations

import io
import re
from contextlib import ExitStack

import diffusers
import pytest
import relatives
import tiny
import torch
from tqdm.auto import tqdm

from dymo import ConfigError, DyMO, PipelineError, SemanticGraph
from dymo.guidance.loop import Need
from dymo.pipelines.families import arguments, family_of
from dymo.pipelines.families.refused import REFUSED
from dymo.pipelines.families.unet import cross_attentions
from dymo.pipelines.hold import frozen
from dymo.pipelines.loop import PipelineLoop
from dymo.prompt.encoders import joint_pairs
from dymo.trace import Cost

STILL = DyMO(None, semantic_weight=0)
# Both objectives at every step, each step twice, and nothing damped away.
GUIDED = DyMO(
    tiny.brightness, recurrences=1, borders_by="progress", borders=(0.0, 1.0), eta=0.05, damping=0.0, k=1.0, few_steps="never",
)  # fmt: skip


def graph_of(prompt: str) -> SemanticGraph:
    things = [{"text": "apple", "attributes": ["red"]}, {"text": "car", "attributes": ["green"]}]
    return SemanticGraph.from_json({"prompt": prompt, "entities": things})


GRAPH = graph_of(tiny.PROMPT)


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    """Qwen-Image-Edit brings pictures to a million pixels."""
    for name, size in (("edit", (64, 64, None)), ("edit_inpaint", (64, 64, None)), ("edit_plus", (64, 64))):
        monkeypatch.setattr(f"diffusers.pipelines.qwenimage.pipeline_qwenimage_{name}.calculate_dimensions", lambda *_, size=size: size)


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
        return aligner(pipe, case.prompt, graph=graph_of(case.prompt), **case.kwargs, generator=generator)

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


MODULAR = {
    "FluxModularPipeline": "FluxPipeline", "Flux2KleinModularPipeline": "Flux2KleinPipeline", "Flux2KleinBaseModularPipeline": "Flux2KleinPipeline",
    "StableDiffusionXLModularPipeline": "StableDiffusionXLPipeline", "QwenImageLayeredModularPipeline": "",
    "WanModularPipeline": "", "AnimaModularPipeline": "", "ModularPipeline": "",
}  # fmt: skip


@pytest.mark.parametrize("name", MODULAR)
def test_a_pipeline_made_of_blocks_is_refused_as_that_with_the_usual_one_of_its_model(name):
    """However far its components are loaded; one for videos, or of a model that has no other, names none."""
    pipe = object.__new__(type("Mine", (getattr(diffusers, name),), {}))
    with pytest.raises(PipelineError) as said:
        DyMO(None)(pipe, tiny.PROMPT, graph=GRAPH)
    instead = f": use {MODULAR[name]}, which" if MODULAR[name] else ", and diffusers has no other"
    assert str(said.value).startswith(f"Mine cannot be steered: it is a ModularPipeline, whose loop is made of blocks{instead}")


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


def test_flux_2_is_refused_where_its_denoiser_gives_more_than_a_prediction_and_where_the_prompt_is_written_anew():
    case = relatives.CASES["Flux2KleinKVPipeline"]
    with pytest.raises(PipelineError, match=r"keys of its pictures.*use Flux2KleinPipeline"):
        STILL(case.make(), case.prompt, image=relatives.PICTURE, **case.kwargs)
    case = relatives.CASES["Flux2Pipeline with pictures"]
    with pytest.raises(PipelineError, match=r"caption_upsample_temperature= has the prompt written anew.*semantic_weight=0"):
        GUIDED(case.make(), case.prompt, graph=GRAPH, caption_upsample_temperature=0.15, **case.kwargs)


def first(stack, pipe, call, **need):
    """What the first evaluation of a run sees."""
    stack.enter_context(torch.enable_grad())
    stack.enter_context(frozen([m for m in pipe.components.values() if isinstance(m, torch.nn.Module)]))
    kwargs = {**call, "prompt": tiny.PROMPT, "generator": torch.Generator().manual_seed(0)}
    loop = stack.enter_context(PipelineLoop(pipe, kwargs, decode=lambda z0: z0, cost=Cost()))
    next(iter(loop))
    return loop.predict(need=Need(maps=True, **need))


def test_sana_sprint_decodes_what_is_predicted_and_a_displacement_of_it():
    """In units of the latents, whose deviation is a half while they are noised."""
    case = relatives.CASES["SanaSprintPipeline"]
    kwargs = {**case.kwargs, "prompt": case.prompt, "generator": torch.Generator().manual_seed(0), "output_type": "latent"}
    with PipelineLoop(case.make(), kwargs, decode=lambda z0: z0, cost=Cost()) as loop:
        for now in loop:
            seen = loop.predict()
            assert now.here.radius == pytest.approx(0.5) and now.whole == now.steps == 2
            loop.accept(loop.sampler_step(seen) + 0.05)
    torch.testing.assert_close(loop.result.images, seen.z0.detach() + 0.05 / 0.5, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "plain"), [("StableDiffusion3PAGPipeline", "sd3"), ("PixArtSigmaPAGPipeline", "pixart-sigma"), ("SanaPAGPipeline", "sana")]
)
def test_the_maps_beside_perturbed_rows_are_those_of_the_plain_pipeline(name, plain):
    case = relatives.CASES[name]
    with ExitStack() as one, ExitStack() as other:
        perturbed = first(one, case.make(), case.kwargs)
        call = {key: value for key, value in case.kwargs.items() if key != "pag_scale"}
        wanted = first(other, relatives.flows.FAMILIES[plain].make(), call)
        torch.testing.assert_close(perturbed.maps, wanted.maps, atol=1e-6, rtol=1e-5)
        assert (perturbed.z0 - wanted.z0).abs().max() > 1e-3, "the perturbed rows have a part in the prediction"


def test_z_image_s_controlnet_tells_rows_that_run_alone_what_it_told_them_in_the_batch():
    """The prompt is longer than what is not wanted: the rows without it have fewer tokens when they run alone."""
    case = relatives.CASES["ZImageControlNetPipeline"]
    with ExitStack() as one, ExitStack() as other:
        together, apart = first(one, case.make(), case.kwargs), first(other, case.make(), case.kwargs, through="maps")
        torch.testing.assert_close(together.maps, apart.maps, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(together.z0, apart.z0, atol=1e-5, rtol=1e-4)
        found = apart.pull(apart.maps[:, :, 20:24].square().sum((1, 2)), False)
        assert found.abs().max() > 0


def test_fused_projections_do_not_change_a_transformers_maps():
    case = relatives.CASES["FluxPipeline with fused projections"]
    with ExitStack() as one, ExitStack() as other:
        fused, wanted = first(one, case.make(), case.kwargs), first(other, relatives.zoo.seeded(relatives.flows.flux)(), case.kwargs)
        torch.testing.assert_close(fused.maps, wanted.maps, atol=1e-6, rtol=1e-5)


def test_graphs_are_refused_where_parts_of_the_denoiser_are_switched_off_between_steps():
    case = relatives.CASES["StableDiffusionGLIGENPipeline"]
    with pytest.raises(ConfigError, match=r"compile='graphs': StableDiffusionGLIGENPipeline switches parts of its denoiser off"):
        DyMO(tiny.brightness, compile="graphs")(case.make(), case.prompt, graph=GRAPH, **case.kwargs)


def test_the_attention_of_a_controlnet_xs_between_the_unet_s_own_is_not_read():
    unet = relatives.CASES["StableDiffusionControlNetXSPipeline"].make().unet
    every = [name for name, _ in unet.named_modules() if name.endswith("attn2")]
    read = list(cross_attentions(unet))
    assert len(read) < len(every) and set(every) - set(read) == {name for name in every if "ctrl_" in name}


def test_words_behind_padding_are_refused():
    """As Kolors' tokenizer has it."""
    pipe = relatives.sd(diffusers.StableDiffusionPipeline, tokenizer=tiny.tokenizer.__wrapped__())
    family_of(pipe).tokenizer(pipe)
    pipe.tokenizer.padding_side = "left"
    with pytest.raises(PipelineError, match=r"padding before the prompt.*semantic_weight=0"):
        GUIDED(pipe, tiny.PROMPT, graph=GRAPH, **tiny.SMALL)


@pytest.mark.parametrize("name", ["QwenImageEditPipeline", "QwenImageEditPlusPipeline", "QwenImageEditInpaintPipeline"])
def test_the_words_of_an_edit_lie_behind_the_tokens_of_its_pictures(name):
    """As many as the processor makes of each, in what the pipeline's own encoder is given."""
    case, seen = relatives.CASES[name], []
    pipe = case.make()
    pipe.text_encoder.register_forward_pre_hook(lambda m, args, kwargs: seen.append(kwargs["input_ids"][0]), with_kwargs=True)
    case.run(pipe)
    given = arguments(pipe, {**case.kwargs, "prompt": case.prompt})
    kept = seen[0][pipe.prompt_template_encode_start_idx :]
    words = joint_pairs(GRAPH, family_of(pipe).encoders(pipe, given)).words
    for word in ("red", "apple", "green", "car"):
        assert pipe.tokenizer.decode(kept[list(words[word][0])]).strip() == word
    with pytest.raises(PipelineError, match=r"takes PIL images"):
        family_of(pipe).encoders(pipe, {**given, "image": relatives.flows.PICTURE})
