"""The transformers: untouched where nothing is asked, right gradients and maps, guided, restored, a batch as single runs."""

from __future__ import annotations

import functools
import warnings
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import flow_maps
import flows
import pytest
import readers
import tiny
import torch
import zoo
from diffusers import AdaptiveProjectedGuidance, ClassifierFreeGuidance, HunyuanImageRefinerPipeline, SkipLayerGuidance
from diffusers.models.transformers.transformer_hidream_image import MOEFeedForwardSwiGLU

from dymo import Budget, Config, ConfigError, DyMO, PipelineError, SemanticGraph
from dymo.guidance.loop import Need
from dymo.guidance.objectives import SemanticAlignment, word_map
from dymo.pipelines.decode import decoder
from dymo.pipelines.families import FAMILIES, family_of
from dymo.pipelines.families.hidream import _through_experts
from dymo.pipelines.families.ideogram4 import Ideogram4
from dymo.pipelines.hold import frozen, parked, patched
from dymo.pipelines.kernel import KernelTaps
from dymo.pipelines.loop import PipelineLoop
from dymo.pipelines.momentum import Momentum
from dymo.pipelines.schedulers import at_pixels, timesteps
from dymo.pipelines.settings import MapChoice
from dymo.prompt import parse
from dymo.prompt.encoders import joint_pairs
from dymo.trace import Cost
from dymo.understanding import understand
from dymo.wording import wording_of

STILL = DyMO(None, semantic_weight=0)
# Both objectives at every step, each step twice, and nothing damped away.
EVERYWHERE = dict(recurrences=1, borders_by="progress", borders=(0.0, 1.0), eta=0.05, damping=0.0, k=1.0, few_steps="never")
GUIDED = DyMO(tiny.brightness, **EVERYWHERE)
LONGER = "a big green car beside a red apple"
OTHERWISE = "a green car and a red apple"


def graph_of(prompt: str) -> SemanticGraph:
    """So that no parser is needed."""
    entities = [{"text": "apple", "attributes": ["red"]}, {"text": "car", "attributes": ["green"]}]
    return SemanticGraph.from_json({"prompt": prompt, "entities": entities})


GRAPH = graph_of(tiny.PROMPT)


CASES = {**flows.FAMILIES, **flows.FORMS}
# A family whose words have no maps.
WORDLESS = "glm-image"


@functools.cache
def plain(name: str):
    """A pipeline and the images of its plain call."""
    case = CASES[name]
    pipe = case.make()
    return pipe, plainly(case, pipe)


def plainly(case, pipe):
    torch.manual_seed(0)  # from which SD3's ControlNet pipeline draws, whatever the generator
    return case.run(pipe)


def run(aligner, name, prompt=None, seeds=(0,), **more):
    case, (pipe, _) = CASES[name], plain(name)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    kwargs = {**case.kwargs, "generator": generators if len(seeds) > 1 else generators[0], **more}
    prompts = prompt or case.prompt
    graphs = graph_of(prompts) if isinstance(prompts, str) else [graph_of(one) for one in prompts]
    torch.manual_seed(0)
    return aligner(pipe, prompts, graph=graphs, **kwargs)


def state(pipe):
    """What a run could leave behind."""
    modules = {n: m for n, m in pipe.components.items() if isinstance(m, torch.nn.Module)}
    return (
        set(vars(pipe)), set(vars(pipe.transformer)),
        {"step", "set_timesteps", "add_noise", "scale_noise"} & set(vars(pipe.scheduler)),
        {n: [p.requires_grad for p in m.parameters()] for n, m in modules.items()},
        [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in pipe.transformer.modules()],
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bit_identical_with_open_slots_guided_at_each_evaluation_and_restored_after_an_exception(name):
    case, (pipe, images) = CASES[name], plain(name)
    before, calls = state(pipe), []
    handle = pipe.transformer.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        still = run(STILL, name)
    finally:
        handle.remove()
    assert torch.equal(still.images, images) and len(calls) == case.calls
    steps = len(still.trace.steps)
    assert still.trace.evaluations == [steps] and steps == (2 if "strength" in case.kwargs else case.kwargs["num_inference_steps"])
    assert still.trace.config["gradient"] == "straight-through"

    scored = []

    def reward(pixels, prompts):
        scored.append(1)
        if len(scored) == 3:
            raise RuntimeError("stop")
        return pixels.mean((1, 2, 3))

    # At pure noise the preference has no part in a mixed stage, and a prediction is moved by what the denoiser makes of its input alone.
    words = dict(semantic_weight=0, gradient="full", borders=(0.0, 0.0)) if name == WORDLESS else {}
    aligner = DyMO(reward, **(EVERYWHERE | {"gradient": "full"} | words))
    with pytest.raises(RuntimeError, match="stop"):
        run(aligner, name)
    assert state(pipe) == before

    guided = run(DyMO(tiny.brightness, **(EVERYWHERE | words)), name)
    assert guided.images.isfinite().all() and not torch.equal(guided.images, images)
    # A flow's first step starts at pure noise, to which there is no way back; Ideogram 4's, at a little less.
    noise = still.trace.steps[0].timestep == 999 and name != "ideogram4"
    assert guided.trace.evaluations == [2 * steps - noise]
    for step in guided.trace.steps:
        assert step.displacement[0] > 0 and set(step.losses) == {"preference"} | ({"semantic"} if not words else set()), step
    assert state(pipe) == before
    assert torch.equal(plainly(case, pipe), images)


@pytest.mark.parametrize("name", flows.FAMILIES)
def test_a_batch_is_as_single_runs(name):
    # OmniGen turns all rows as the first, Qwen-Image 2.1 puts the image where the longest prompt of the batch ends, and Kandinsky 5 and
    # JoyImage have no mask for what fills a shorter one up: only prompts of one length are as single ones.
    prompts = [tiny.PROMPT, OTHERWISE if name.startswith(("omnigen", "qwen-image-2.1", "kandinsky5", "joyimage")) else LONGER]
    settings = dict(recurrences="dynamic", h=(60.0, 60.0, 600.0), max_recurrences=1, eta=0.02, few_steps="never")
    aligner = DyMO(tiny.brightness, borders_by="progress", borders=(0.3, 0.7), **settings)
    more = {"negative_prompt": ["a dog"] * 2} if "negative_prompt" in flows.FAMILIES[name].kwargs else {}
    both = run(aligner, name, prompts, (1, 2), **more)
    for i, seed in enumerate((1, 2)):
        alone = run(aligner, name, prompts[i], (seed,))
        torch.testing.assert_close(both.images[i : i + 1], alone.images, atol=3e-4, rtol=0)
        assert both.trace.evaluations[i] == alone.trace.evaluations[0]


def opened(stack: ExitStack, name: str, samples: int = 1, **settings):
    """The pipeline's loop at the second of three noise levels, where z0' depends on v and eps alike; nothing is rounded."""
    case, (pipe, _) = CASES[name], plain(name)
    stack.enter_context(torch.enable_grad())
    stack.enter_context(frozen([m for m in pipe.components.values() if isinstance(m, torch.nn.Module)]))
    kwargs = {**case.kwargs, "num_inference_steps": 3, "prompt": case.prompt, "num_images_per_prompt": samples}
    kwargs["generator"] = torch.Generator().manual_seed(0)
    decode = decoder(pipe.vae, family_of(pipe).form)
    loop = stack.enter_context(PipelineLoop(pipe, kwargs, decode=decode, cost=Cost(), choice=MapChoice(**settings)))
    steps = iter(loop)
    next(steps)
    loop.accept(loop.sampler_step(loop.predict()))
    next(steps)
    return loop


@pytest.mark.parametrize("name", [*flows.FAMILIES, WORDLESS])
def test_the_preference_s_gradient_is_that_of_finite_differences(name):
    with ExitStack() as stack:
        loop = opened(stack, name)

        def loss(seen):
            return (seen.images * weights).sum((1, 2, 3))

        z = loop.predict().z.detach()
        images = loop.predict(z).images
        weights = torch.randn(images.shape, generator=torch.Generator().manual_seed(3)) / images[0].numel() ** 0.5
        for through in ("full", "none"):
            seen = loop.predict(z, need=Need(through=through))
            found = seen.pull(loss(seen), False)
            along = found / found.norm()
            if through == "full":
                ends = [loss(loop.predict(z + sign * 0.02 * along)) for sign in (1, -1)]
            else:  # straight-through: z0' follows z, and the denoiser's output stays as it is
                a = seen.timestep.here.a
                scale = {"epsilon": a, "v_prediction": 1 / a}.get(loop.scheduler.config.get("prediction_type"), 1.0)
                ends = [(loop.decode(seen.z0.detach() + sign * 0.02 * along / scale) * weights).sum() for sign in (1, -1)]
            difference = (ends[0] - ends[1]).item() / 0.04
            assert difference == pytest.approx(found.norm().item(), rel=0.02), through


@pytest.mark.parametrize("name", flows.FAMILIES)
def test_maps_are_the_reference_attention_s_probabilities(name):
    with ExitStack() as stack:
        loop = opened(stack, name, layers=flow_maps.REFERENCE[name].layers)
        taps_of = loop._evaluator
        reference = stack.enter_context(flow_maps.REFERENCE[name].reading(loop.pipe))
        seen = loop.predict(need=Need(maps=True))
        assert isinstance(taps_of.taps, KernelTaps)
        wanted = reference()
        assert seen.maps is not None and seen.maps.shape == wanted.shape
        torch.testing.assert_close(seen.maps, wanted, atol=1e-5, rtol=0)
        assert seen.grid[0] * seen.grid[1] == seen.maps.shape[1]
        assert 0.01 < wanted.sum(-1).mean() <= 1 + 1e-5


@pytest.mark.parametrize("name", flows.FAMILIES)
def test_the_semantic_loss_falls_along_its_gradient(name):
    with ExitStack() as stack:
        loop = opened(stack, name)
        pipe, case = loop.pipe, flows.FAMILIES[name]
        encoders = family_of(pipe).encoders(pipe, case.kwargs)
        pairs = joint_pairs(GRAPH, encoders)
        assert len(pairs.positive) == 2 and len(pairs.negative) == 1 and not pairs.truncated
        objective = SemanticAlignment([pairs])
        need = Need(maps=True, through="maps")
        seen = loop.predict(need=need)
        losses = []
        for _ in range(4):
            losses.append(objective.loss(seen))
            found = seen.pull(losses[-1], False)
            assert found.abs().sum() > 0
            z = seen.z.detach() - 0.03 * seen.eps.norm() * found / found.norm()
            seen = loop.predict(z, need=need)
        assert losses[-1].item() < losses[0].item() - 1e-6, losses


@pytest.mark.parametrize("name", ["ideogram4", "fibo", "fibo2", "kandinsky5", "joyimage", WORDLESS])
def test_predictions_are_decoded_as_the_pipeline_decodes_its_latents(name):
    case, (pipe, images) = CASES[name], plain(name)
    kwargs = {**case.kwargs, "prompt": case.prompt, "generator": torch.Generator().manual_seed(0)}
    with torch.no_grad(), PipelineLoop(pipe, kwargs, decode=decoder(pipe.vae, family_of(pipe).form), cost=Cost()) as loop:
        for _ in loop:
            z = loop.sampler_step(loop.predict())
            loop.accept(z)
        torch.testing.assert_close(loop.decode(z).clamp(0, 1), images, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("joyimage", {"image": [1]}, "its picture among the latents.*QwenImageEditPipeline"),
        ("joyimage", {"enable_denormalization": False}, "the VAE's statistics.*leave it out"),
        (WORDLESS, {"image": [1]}, "keys of its pictures.*QwenImageEditPipeline"),
        ("omnigen", {"input_images": [[1]]}, "pictures among the prompt's tokens.*leave it out"),
    ],
)
def test_calls_that_put_more_into_the_denoiser_or_take_less_out_are_refused(name, given, said):
    pipe = plain(name)[0]
    with pytest.raises(PipelineError, match=said):
        family_of(pipe).branches(pipe, given)


def test_kandinsky_s_positions_are_those_of_all_rows():
    pipe = plain("kandinsky5")[0]
    positions = {"visual_rope_pos": [torch.arange(n) for n in (1, 2, 2)], "text_rope_pos": torch.arange(2)}
    _, kwargs = family_of(pipe).take((), {"hidden_states": torch.arange(2.0).view(2, 1), **positions}, [1], 2)
    assert kwargs["hidden_states"].tolist() == [[1.0]] and all(kwargs[name] is positions[name] for name in positions)


def test_ideogram_s_tokens_are_counted_once(monkeypatch):
    indicator, counts = torch.tensor([[0, 3, 2, 2]] * 2), []
    monkeypatch.setattr(torch.Tensor, "__int__", lambda x: counts.append(1) or x.item())
    samples = [Ideogram4().sample((), {"indicator": indicator, "hidden_states": torch.zeros(2, 4, 8)}) for _ in range(2)]
    assert [sample.shape for sample in samples] == [(2, 2, 8)] * 2 and len(counts) == 1


def test_ideogram_s_guidance_is_the_present_step_s_and_a_prompt_that_is_written_anew_is_refused():
    name = "ideogram4"
    case, (pipe, _) = CASES[name], plain(name)
    family, scales = family_of(pipe), []
    with PipelineLoop(pipe, {**case.kwargs, "prompt": case.prompt}, decode=lambda z: z, cost=Cost()) as loop:
        for _ in loop:
            for z in (None, loop.predict().z):
                seen = loop.predict(z)
                scales.append(family.scale(pipe, case.kwargs | {"guidance_scale": None}))
            loop.accept(loop.sampler_step(seen))
    assert scales == [3.0, 3.0, 2.0, 2.0, 1.5, 1.5]
    assert family.scale(pipe, {"guidance_scale": 4, "guidance_schedule": None}) == 4.0
    with pytest.raises(PipelineError, match=r"prompt_upsampling=True.*pipe.upsample_prompt.*semantic_weight=0"):
        family.encoders(pipe, {"prompt_upsampling": True})


GUIDED_FAMILIES = [name for name in flows.FAMILIES if name not in ("flux-dev", "flux-schnell", "flux2-dev", "qwen-image-2.1-uncached")]

# Their pipelines bring the guided prediction to another length.
RESCALED = ("lumina2", "qwen-image", "longcat-image", "nucleus-image", "joyimage")


@pytest.mark.parametrize("name", [*GUIDED_FAMILIES, "sd-v"])
def test_the_residual_is_what_the_noise_changes_by_where_the_guidance_grows(name, monkeypatch):
    """Whatever the denoiser predicts, and whichever sign its pipeline gives that: d eps / d scale = eps_cond - eps_uncond."""
    case = zoo.CASES[name] if name in zoo.CASES else flows.FAMILIES[name]
    pipe = zoo.CASES[name].make() if name in zoo.CASES else plain(name)[0]
    seen, z = [], None
    for scale in (3.0, 4.0):
        given = {"true_cfg_scale" if "true_cfg_scale" in case.kwargs else "guidance_scale": scale}
        if name == "ideogram4":
            given = {"guidance_schedule": (scale,) * 3}
        if name == "hunyuan-image":
            given = {}
            monkeypatch.setattr(pipe, "ocr_guider", ClassifierFreeGuidance(guidance_scale=scale))
        kwargs = {**case.kwargs, **given, "prompt": case.prompt, "generator": torch.Generator().manual_seed(0)}
        with torch.no_grad(), PipelineLoop(pipe, kwargs, decode=lambda z: z, cost=Cost()) as loop:
            steps = iter(loop)
            next(steps)
            found = loop.sampler_step(loop.predict())
            loop.accept(z := found if z is None else z)
            next(steps)
            seen.append(loop.predict())
    change, residual = seen[1].eps - seen[0].eps, seen[0].residual
    if name in RESCALED:
        assert (change * residual).sum() > 0
    elif name == "lumina-next":  # the fourth channel is not guided
        torch.testing.assert_close(change[:, :3], residual[:, :3], atol=1e-4, rtol=1e-3)
    else:
        torch.testing.assert_close(change, residual, atol=1e-4, rtol=1e-3)


def test_sd3_s_word_has_the_places_of_both_encoders_each_normalised():
    pipe, _ = plain("sd3.5")
    encoders = family_of(pipe).encoders(pipe, flows.FAMILIES["sd3.5"].kwargs)
    pairs = joint_pairs(GRAPH, encoders)
    clip, t5 = pairs.words["apple"]
    first, window = pipe.tokenizer(tiny.PROMPT).input_ids, pipe.tokenizer_max_length
    second = pipe.tokenizer_3(tiny.PROMPT).input_ids
    assert "apple" in pipe.tokenizer.decode([first[i] for i in clip]).replace(" ", "")
    assert pipe.tokenizer_3.decode([second[i - window] for i in t5]).strip() == "apple"
    maps = torch.rand(16, window + 24)
    both = word_map(maps, pairs.words["apple"])
    torch.testing.assert_close(both, (word_map(maps, clip) + word_map(maps, t5)) / 2)
    torch.testing.assert_close(both.sum(), torch.tensor(1.0))


def test_what_guidance_keeps_from_step_to_step_is_of_each_sample_s_own_steps():
    """HunyuanImage's guider has momentum: evaluations of one step begin with the same, and each sample goes on from its own."""
    name = "hunyuan-image"
    with ExitStack() as stack:
        loop = opened(stack, name, samples=2)
        guider = loop.pipe.guider
        begun = guider.momentum_buffer.running_average
        full = Need(through="full")
        first = loop.predict(need=full)
        left = guider.momentum_buffer.running_average
        assert left.requires_grad and not begun.requires_grad and guider._is_apg_enabled()
        z = first.z.detach()
        again = loop.predict(z, need=full)
        assert torch.equal(again.eps, first.eps) and torch.equal(guider.momentum_buffer.running_average, left)
        torch.testing.assert_close(left.detach() - difference(loop), -0.5 * begun)
        z_next = loop.sampler_step(again)
        loop.predict(z[1:] + 0.1, [1])  # a step that is not taken
        assert torch.equal(guider.momentum_buffer.running_average[0], left[0])
        loop.sampler_step(loop.predict(z[:1], [0]))
        loop.accept(z_next, [1, 0])
        next(iter(loop))
        loop.predict(need=full)
        kept = guider.momentum_buffer.running_average
        torch.testing.assert_close(kept.detach() - difference(loop), -0.5 * left.detach()[[1, 0]])
    assert kept.requires_grad and torch.equal(guider.momentum_buffer.running_average, kept)
    assert not guider.momentum_buffer.running_average.requires_grad
    pipe, images = plain(name)
    pipe.guider.adaptive_projected_guidance_momentum = None
    try:
        assert not torch.equal(plainly(CASES[name], pipe), images)
    finally:
        pipe.guider.adaptive_projected_guidance_momentum = -0.5


def test_momentum_that_begins_after_the_first_step_begins_with_nothing_at_each_evaluation():
    name = "hunyuan-image"
    pipe, usual = plain(name)[0], plain(name)[0].guider
    pipe.guider = AdaptiveProjectedGuidance(guidance_scale=3.0, adaptive_projected_guidance_momentum=-0.5, start=0.4)
    try:
        with ExitStack() as stack:
            loop = opened(stack, name)
            first = loop.predict(need=Need(through="full"))
            again = loop.predict(first.z.detach(), need=Need(through="full"))
            assert torch.equal(first.eps, again.eps) and loop.evaluations == [3]
            torch.testing.assert_close(pipe.guider.momentum_buffer.running_average.detach(), difference(loop))
    finally:
        pipe.guider = usual


def test_the_first_step_may_be_taken_sample_by_sample():
    held = {"x": torch.tensor([[1.0], [2.0]])}
    family = SimpleNamespace(kept=lambda pipe, given: held["x"], keep=lambda pipe, given, value: held.update(x=value))
    momentum = Momentum(family, None, {})
    momentum.take([0])
    held["x"] = torch.tensor([[5.0], [6.0]])
    momentum.take([1])
    momentum.accept(None)
    momentum.begin()
    assert held["x"].tolist() == [[1.0], [6.0]]


def difference(loop):
    """Of the two predictions of the last evaluation."""
    (_, conditional), (_, unconditional) = loop._evaluator.outputs
    return (conditional - unconditional).detach()


def test_a_text_in_quotes_moves_the_words_of_its_own_prompt_alone():
    """In a batch of HunyuanImage's, where one of the prompts has such a text, which the other's run cannot know."""
    aligner = DyMO(None, borders_by="progress", borders=(1.0, 1.0), eta=0.02, damping=0.0)
    prompts = [f"{tiny.PROMPT} with 'so long a text'", tiny.PROMPT]
    both = run(aligner, "hunyuan-image", prompts, (1, 2))
    for i, seed in enumerate((1, 2)):
        alone = run(aligner, "hunyuan-image", prompts[i], (seed,))
        assert both.trace.steps[0].losses["semantic"][i] == pytest.approx(alone.trace.steps[0].losses["semantic"][0], abs=1e-5)
        torch.testing.assert_close(both.images[i : i + 1], alone.images, atol=3e-4, rtol=0)


def test_guiders_are_known_or_refused():
    pipe = flows.FAMILIES["hunyuan-image"].make()
    given = {"prompt": ["a car", "a car that says 'car'"]}
    family = family_of(pipe)
    assert family.guided(pipe, given)
    assert family.unshared(pipe, given) == "its AdaptiveProjectedMixGuidance is not linear, as a ClassifierFreeGuidance is"
    pipe.ocr_guider = ClassifierFreeGuidance(guidance_scale=4.0, stop=0.5)
    assert not family.unshared(pipe, given)
    for step, scale in ((0, 4.0), (2, 1.0)):
        pipe.ocr_guider.set_state(step, 4, None)
        assert family.scale(pipe, given) == scale and family.guided(pipe, given)
    pipe.ocr_guider = ClassifierFreeGuidance(guidance_scale=1.0)
    assert not family.guided(pipe, given) and family.guided(pipe, {"prompt": "a car"})
    assert not family.guided(pipe, {"prompt_embeds_2": torch.ones(1)}) and family.guided(pipe, {"prompt_embeds_2": torch.zeros(1)})
    pipe.guider = SkipLayerGuidance(skip_layer_guidance_layers=[0])
    with pytest.raises(PipelineError, match="guided by SkipLayerGuidance.*ClassifierFreeGuidance"):
        family_of(pipe)
    net = type(pipe.transformer)(**{**pipe.transformer.config, "in_channels": 8, "patch_size": (1, 1, 1), "rope_axes_dim": (2, 2, 4)})
    parts = {name: getattr(pipe, name) for name in ("scheduler", "vae", "text_encoder", "tokenizer")}
    with pytest.raises(PipelineError, match="HunyuanImageRefinerPipeline has latents of frames.*steer HunyuanImagePipeline"):
        family_of(HunyuanImageRefinerPipeline(**parts, transformer=net))


@pytest.mark.parametrize("name", ["sd3-inpaint", "flux-inpaint"])
def test_the_known_region_has_the_noise_level_of_the_evaluation(name):
    """A step that is taken again sees the kept region noised to its own level, as the first time."""
    pipe, _ = plain(name)
    seen: dict[float, list[torch.Tensor]] = {}

    def look(module, args, kwargs):
        z = kwargs["hidden_states"][:1].detach()
        z = z.unflatten(1, (8, 8))[:, :, 5:] if z.ndim == 3 else z[..., 10:]
        seen.setdefault(float(kwargs["timestep"][0]), []).append(z.clone())

    handle = pipe.transformer.register_forward_pre_hook(look, with_kwargs=True)
    try:
        run(GUIDED, name, strength=1.0, num_inference_steps=4)
    finally:
        handle.remove()
    # There is no way back to pure noise; and after the last step pipelines put the region back without noise.
    assert [len(regions) for regions in seen.values()] == [1, 2, 2, 2]
    for regions in list(seen.values())[1:-1]:
        torch.testing.assert_close(*regions, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_hidream_s_experts_give_the_same_bits_and_the_gradient_of_their_training(dtype):
    torch.manual_seed(0)
    module = MOEFeedForwardSwiGLU(16, 16, num_routed_experts=4, num_activated_experts=2).to(dtype).eval()
    x = torch.randn(2, 9, 16, dtype=dtype, requires_grad=True)
    plain = module(x)
    with patched(module, "moe_infer", partial(_through_experts, module)):
        found = module(x)
    assert torch.equal(found, plain)
    ours, theirs = (torch.autograd.grad(y.float().square().sum(), x)[0] for y in (found, module.train()(x)))
    torch.testing.assert_close(ours, theirs, **({} if dtype == torch.float32 else dict(atol=0.02, rtol=0.05)))
    assert not torch.allclose(ours, torch.autograd.grad(plain.float().square().sum(), x)[0], rtol=0.2)


def test_the_layers_and_the_size_of_the_maps():
    name = "sd3.5"
    with ExitStack() as stack:
        found = {}
        for settings in ({}, {"layers": (2,)}, {"layers": (1,)}, {"size": 4}):
            inner = stack.enter_context(ExitStack())
            loop = opened(inner, name, **settings)
            found[str(settings)] = loop.predict(need=Need(maps=True))
            inner.close()
    every, last, named, small = found.values()
    assert torch.equal(every.maps, named.maps) and not torch.equal(last.maps, named.maps)
    assert small.grid == (4, 4) and every.grid == (8, 8)
    picked = every.maps.unflatten(1, (8, 8))[:, ::2, ::2].flatten(1, 2)
    torch.testing.assert_close(small.maps, picked)
    for settings, said in (({"layers": (3,)}, "layers 0 to 2, and no 3"), ({"size": 3}, "maps of 8, 4, 2, 1 rows")):
        with ExitStack() as stack, pytest.raises(PipelineError, match=said):
            opened(stack, name, **settings).predict(need=Need(maps=True))


def test_a_flow_s_borders_are_those_of_stable_diffusion_at_the_resolution_of_its_latents():
    """At latents of 128 x 128 the border t = 800 is at sigma .911, and at the noise level itself at .836."""
    pipe = flows.sd3()
    pipe.scheduler.set_timesteps(sigmas=[1.0, 0.911 / (3 - 2 * 0.911), 0.836 / (3 - 2 * 0.836), 0.1])  # the shift of 3 undone
    steps = at_pixels(pipe.scheduler, timesteps(pipe.scheduler, 0, 4), 128 * 128)
    assert [now.here.s for now in steps] == pytest.approx([1.0, 0.911, 0.836, 0.25], abs=1e-3)
    assert steps[1].t_64 == pytest.approx(800, abs=2) and steps[2].t == pytest.approx(800, abs=2)
    assert steps[0].t == steps[0].t_64 == 999 and steps[0].here.a == 0


def test_what_rounding_to_bfloat16_takes_away_is_added_to_the_next_step():
    """Displacements far below a unit in the last place move the latents none the less, as far as in float32."""
    case = flows.FAMILIES["flux-schnell"]
    ends = {}
    for dtype in (torch.float32, torch.bfloat16):
        pipe = case.make().to(dtype)
        for push in (0.0, 0.001):
            kwargs = {**case.kwargs, "prompt": case.prompt, "generator": torch.Generator().manual_seed(0)}
            kwargs |= {"num_inference_steps": 20, "output_type": "latent"}
            sums = []
            with PipelineLoop(pipe, kwargs, decode=decoder(pipe.vae), cost=Cost()) as loop:
                for _ in loop:
                    z = loop.sampler_step(loop.predict())
                    sums.append(z.mean().item())
                    loop.accept(z + push * torch.ones_like(z))
            ends[dtype, push] = sums[-1]
    moved = {dtype: ends[dtype, 0.001] - ends[dtype, 0.0] for dtype in (torch.float32, torch.bfloat16)}
    assert moved[torch.bfloat16] == pytest.approx(moved[torch.float32], rel=0.25), moved


def test_few_steps_without_guidance_are_steered_as_such():
    """FLUX's pipeline does not say whether it is guided: its family does."""
    settings = dict(borders=(1000, 1000), semantic_weight=0, updates=2, draws=1)
    few = run(DyMO(tiny.brightness, **settings), "flux-schnell", num_inference_steps=3)
    (evaluations,) = few.trace.evaluations
    assert 3 + 2 + 2 <= evaluations <= 4 + 3 + 3 and few.images.isfinite().all()  # once more where the last was not the best
    for name in ("flux-true-cfg", "lumina2", "sd3.5"):
        assert run(DyMO(tiny.brightness, recurrences=0, **settings), name).trace.evaluations == [flows.STEPS]


@pytest.mark.parametrize("name", ["flux-dev", "chroma", "hunyuan-image"])
def test_checkpointing_gives_the_same_maps_gradients_and_images(name):
    settings = dict(recurrences=0, borders_by="progress", borders=(0.3, 0.6), damping=0.0)
    settings |= {"gradient": "full", "few_steps": "never"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = [run(DyMO(tiny.brightness, **settings, checkpointing=on), name).images for on in (False, True)]
    torch.testing.assert_close(*images, atol=1e-5, rtol=0)
    assert not plain(name)[0].transformer.is_gradient_checkpointing


def test_where_the_bytes_do_not_suffice_the_gradient_leaves_out_the_denoiser():
    name, settings = "flux-dev", dict(recurrences=0, borders_by="progress", borders=(0.0, 0.0), damping=0.0)
    settings |= {"gradient": "full", "few_steps": "never"}
    full = run(DyMO(tiny.brightness, semantic_weight=0, **settings), name)
    sizes = []
    for limit in (10**9, 10**5):
        bounded = run(DyMO(tiny.brightness, semantic_weight=0, **settings), name, budget=Budget(bytes=limit))
        sizes.append([step.gradient_norm[0] for step in bounded.trace.steps])
    assert sizes[0] == [step.gradient_norm[0] for step in full.trace.steps]
    assert sizes[1][0] == sizes[0][0] and sizes[1][1] != sizes[0][1], "the first step finds out, the next ones go without"


def test_text_encoders_are_parked_once_the_prompt_is_read(monkeypatch):
    name, moves = "sd3.5", []
    pipe = plain(name)[0]

    @contextmanager
    def parked(modules):
        moves.append([type(module).__name__ for module in modules])
        yield
        moves.append("back")

    monkeypatch.setattr("dymo.pipelines.encoding.parked", parked)
    handles = [pipe.text_encoder.register_forward_hook(lambda *_: moves.append("read"))]
    handles += [pipe.transformer.register_forward_pre_hook(lambda *_: moves.append("denoised"))]
    try:
        run(DyMO(None, semantic_weight=0, free_text_encoders=True), name)
    finally:
        for handle in handles:
            handle.remove()
    encoders = ["CLIPTextModelWithProjection", "CLIPTextModelWithProjection", "T5EncoderModel"]
    assert moves == ["read", "read", encoders, *["denoised"] * flows.STEPS, "back"]


def test_a_pipeline_that_draws_its_latents_in_its_call(monkeypatch):
    """They may be given, which moves no generator; text encoders are parked when timesteps are set."""
    name, moves = "ernie-image", []
    pipe = plain(name)[0]
    monkeypatch.setattr("dymo.pipelines.encoding.parked", lambda modules: moves.append("parked") or nullcontext())
    settings = dict(recurrences=0, borders_by="progress", borders=(0.3, 0.6), few_steps="never", free_text_encoders=True)
    latents = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    handles = [pipe.text_encoder.register_forward_hook(lambda *_: moves.append("read"))]
    handles += [pipe.transformer.register_forward_pre_hook(lambda *_: moves.append("denoised"))]
    try:
        drawn, given = (run(DyMO(tiny.brightness, **settings), name, **more).images for more in ({}, {"latents": latents}))
    finally:
        for handle in handles:
            handle.remove()
    assert torch.equal(drawn, given) and not torch.equal(drawn, plain(name)[1])
    assert moves == ["read", "read", "parked", *["denoised"] * flows.STEPS] * 2


def test_hidream_s_own_embeddings_are_steered_as_the_prompt_is_whose_words_lie_where_they_end():
    name, aligner = "hidream", DyMO(None, recurrences=0, borders_by="progress", borders=(1.0, 1.0), few_steps="never")
    pipe = plain(name)[0]
    kinds = [f"{sign}prompt_embeds_{reader}" for reader in ("t5", "llama3") for sign in ("", "negative_")]
    with torch.no_grad():
        made = pipe.encode_prompt(tiny.PROMPT, None, None, None, max_sequence_length=40)
    embeds = dict(zip([*kinds, "pooled_prompt_embeds", "negative_pooled_prompt_embeds"], made, strict=True))
    call = {**CASES[name].kwargs, "max_sequence_length": 128}
    told = run(aligner, name)
    assert told.trace.steps[0].displacement[0] > 0
    for beside in (None, tiny.PROMPT):
        given = aligner(pipe, beside, graph=GRAPH, **embeds, **call, generator=torch.Generator().manual_seed(0))
        assert torch.equal(given.images, told.images)


def test_what_is_parked_comes_back_to_where_it_was():
    class Encoder(torch.nn.Module):
        device = torch.device("cuda:1")

        def to(self, device):
            moves.append((self, device))

    moves: list = []
    here, there, offloaded = torch.nn.Linear(1, 1), Encoder(), Encoder()
    here.device, offloaded._hf_hook = torch.device("cpu"), object()
    with pytest.raises(RuntimeError), parked([here, there, offloaded]):
        raise RuntimeError
    assert moves == [(there, "cpu"), (there, torch.device("cuda:1"))]


def test_forms_that_cannot_be_steered_are_refused_with_a_reason():
    with pytest.raises(PipelineError, match=r"map_rows='all'.*two calls.*map_rows='conditional'"):
        run(DyMO(None, map_rows="all"), "flux-true-cfg")
    with pytest.raises(PipelineError, match=r"skip_guidance_layers.*'full'"):
        run(DyMO(tiny.brightness, gradient="conditional", borders=(1000, 1000)), "sd3-skip-layers")
    with pytest.raises(ConfigError, match="step_rule='residual'"):
        run(DyMO(tiny.brightness, step_rule="residual"), "flux-dev")
    with pytest.raises(PipelineError, match=r"asks for guidance_embeds.*register_to_config"):
        family_of(flows.chroma(flows.ChromaInpaintPipeline))
    for make in (flows.chroma, flows.hunyuan_image):
        pipe = make()
        pipe.transformer.enable_gradient_checkpointing()
        kind = type(pipe.transformer).__name__
        with pytest.raises(PipelineError, match=rf"blocks of {kind} other arguments.*disable_gradient_checkpointing\(\), and set checkpointing=True"):
            family_of(pipe)
    rewriter = readers.language_model(flows.MistralModel, flows.MistralConfig)
    with pytest.raises(PipelineError, match="use_pe=False.*semantic_weight=0"):
        GUIDED(flows.ernie(pe=rewriter, pe_tokenizer=readers.chat_tokenizer()), tiny.PROMPT, graph=GRAPH, **flows.FAMILIES["ernie-image"].kwargs)
    with pytest.raises(PipelineError, match="checkpointing=True.*HunyuanDiT2DModel.*'straight-through'"):
        run(DyMO(tiny.brightness, checkpointing=True), "hunyuan-dit")
    pipe = flows.flux()
    pipe.transformer = torch.nn.Linear(1, 1)
    with pytest.raises(PipelineError, match="the denoiser Linear.*FluxTransformer2DModel"):
        family_of(pipe)


def test_the_page_s_table_names_the_families_and_their_layers():
    page = (Path(__file__).parents[2] / "docs" / "transformers.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `") and "of" in line and "DModel`" in line]
    written = {row[0].strip(" `"): row[2].strip() for row in rows}
    held = {}
    for kind, place in FAMILIES.items():
        module, _, name = place.partition(":")
        read = getattr(import_module(f"dymo.pipelines.families.{module}"), name).read
        held[kind] = ", ".join(f"{first}-{last} of {depth}" for depth, (first, last) in read.items())
    assert written == held
    assert {type(plain(name)[0].transformer).__name__ for name in [*flows.FAMILIES, WORDLESS]} == set(FAMILIES)


def test_the_maps_of_one_text_encoder_alone():
    case = CASES["sd3.5"]
    pipe = case.make()
    both, clip, t5 = (
        understand(pipe, wording_of(pipe, {**case.kwargs, "prompt": case.prompt}), GRAPH, Config(map_encoders=chosen), parse)[1][0].words["apple"]
        for chosen in (None, (0,), (1,))
    )
    assert len(both) == 2 and clip == both[:1] and t5 == both[1:]
    with pytest.raises(ConfigError, match=r"map_encoders=\(2,\).*2 text encoders, 0 to 1, and there is no 2"):
        DyMO(None, map_encoders=(2,))(pipe, case.prompt, graph=GRAPH, **case.kwargs)
    with pytest.raises(ConfigError, match="one text encoder alone"):
        DyMO(None, map_encoders=[1])(tiny.sd(), tiny.PROMPT, graph=GRAPH, **tiny.SMALL)
