"""The transformers: untouched where nothing is asked, right gradients and maps, guided, restored, a batch as single runs."""

from __future__ import annotations

import functools
from contextlib import ExitStack

import flows
import pytest
import tiny
import torch

from dymo import DyMO, SemanticGraph
from dymo.guidance.loop import Need
from dymo.guidance.objectives import SemanticAlignment, word_map
from dymo.pipelines.decode import decoder
from dymo.pipelines.families import family_of
from dymo.pipelines.hold import frozen
from dymo.pipelines.kernel import KernelTaps
from dymo.pipelines.loop import PipelineLoop
from dymo.prompt.encoders import joint_pairs
from dymo.trace import Cost

STILL = DyMO(None, semantic_weight=0)
# Both objectives at every step, each step twice, and nothing damped away.
GUIDED = DyMO(
    tiny.brightness, recurrences=1, borders_by="progress", borders=(0.0, 1.0), eta=0.05, damping=0.0, k=1.0,
)  # fmt: skip
LONGER = "a big green car beside a red apple"


def graph_of(prompt: str) -> SemanticGraph:
    """So that no parser is needed."""
    entities = [{"text": "apple", "attributes": ["red"]}, {"text": "car", "attributes": ["green"]}]
    return SemanticGraph.from_json({"prompt": prompt, "entities": entities})


GRAPH = graph_of(tiny.PROMPT)


CASES = {**flows.FAMILIES, **flows.FORMS}


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
    assert still.trace.evaluations == [steps] and steps == (2 if "strength" in case.kwargs else flows.STEPS)
    assert still.trace.config["gradient"] == "straight-through"

    scored = []

    def reward(pixels, prompts):
        scored.append(1)
        if len(scored) == 3:
            raise RuntimeError("stop")
        return pixels.mean((1, 2, 3))

    aligner = DyMO(reward, recurrences=1, borders_by="progress", borders=(0.0, 1.0), gradient="full")
    with pytest.raises(RuntimeError, match="stop"):
        run(aligner, name)
    assert state(pipe) == before

    guided = run(GUIDED, name)
    assert guided.images.isfinite().all() and not torch.equal(guided.images, images)
    # A flow's first step starts at pure noise, to which there is no way back.
    noise = still.trace.steps[0].timestep == 999
    assert guided.trace.evaluations == [2 * steps - noise]
    for step in guided.trace.steps:
        assert step.displacement[0] > 0 and set(step.losses) == {"semantic", "preference"}, step
    assert state(pipe) == before
    assert torch.equal(plainly(case, pipe), images)


@pytest.mark.parametrize("name", flows.FAMILIES)
def test_a_batch_is_as_single_runs(name):
    prompts = [tiny.PROMPT, LONGER]
    settings = dict(recurrences="dynamic", h=(60.0, 60.0, 600.0), max_recurrences=1, eta=0.02)
    aligner = DyMO(tiny.brightness, borders_by="progress", borders=(0.3, 0.7), **settings)
    more = {"negative_prompt": ["a dog"] * 2} if "negative_prompt" in flows.FAMILIES[name].kwargs else {}
    both = run(aligner, name, prompts, (1, 2), **more)
    for i, seed in enumerate((1, 2)):
        alone = run(aligner, name, prompts[i], (seed,))
        torch.testing.assert_close(both.images[i : i + 1], alone.images, atol=3e-4, rtol=0)
        assert both.trace.evaluations[i] == alone.trace.evaluations[0]


def opened(stack: ExitStack, name: str, **settings):
    """The pipeline's loop at its second noise level, where z0' depends on v and eps alike; nothing is rounded."""
    case, (pipe, _) = flows.FAMILIES[name], plain(name)
    stack.enter_context(torch.enable_grad())
    stack.enter_context(frozen([m for m in pipe.components.values() if isinstance(m, torch.nn.Module)]))
    kwargs = {**case.kwargs, "prompt": case.prompt, "generator": torch.Generator().manual_seed(0)}
    loop = stack.enter_context(PipelineLoop(pipe, kwargs, decode=decoder(pipe.vae), cost=Cost(), **settings))
    steps = iter(loop)
    next(steps)
    loop.accept(loop.sampler_step(loop.predict()))
    next(steps)
    return loop


@pytest.mark.parametrize("name", flows.FAMILIES)
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
                scale = seen.timestep.here.a if loop.scheduler.config.get("prediction_type") == "epsilon" else 1.0
                ends = [(loop.decode(seen.z0.detach() + sign * 0.02 * along / scale) * weights).sum() for sign in (1, -1)]
            difference = (ends[0] - ends[1]).item() / 0.04
            assert difference == pytest.approx(found.norm().item(), rel=0.02), through


@pytest.mark.parametrize("name", flows.FAMILIES)
def test_maps_are_the_reference_attention_s_probabilities(name):
    with ExitStack() as stack:
        loop = opened(stack, name, map_layers=flows.REFERENCE[name].layers)
        taps_of = loop._evaluator
        reference = stack.enter_context(flows.REFERENCE[name].reading(loop.pipe))
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


