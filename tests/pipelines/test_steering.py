"""Every kind of pipeline: untouched where nothing is asked, guided at each evaluation where it is, and as before afterwards."""

from __future__ import annotations

import functools

import pytest
import tiny
import torch
import zoo

from dymo import DyMO, PipelineError, SemanticGraph

STILL = DyMO(None, semantic_weight=0)
# Both objectives at every step, each step twice, and nothing damped away.
GUIDED = DyMO(
    tiny.brightness, recurrences=1, borders_by="progress", borders=(0.0, 1.0), eta=0.05, damping=0.0, k=1.0, few_steps="never",
)  # fmt: skip
TEXT = "a red apple and a green car"
GRAPH = SemanticGraph.from_json(
    {
        "prompt": TEXT,
        "entities": [{"text": "apple", "attributes": ["red"]}, {"text": "car", "attributes": ["green"]}],
    }
)


@functools.cache
def plain(name: str):
    """A case's pipeline and the images of its plain call."""
    case = zoo.CASES[name]
    pipe = case.make()
    return pipe, case.run(pipe)


def graphs(case):
    """The words of each prompt, so that no parser is needed; other prompts than the usual one are parsed."""
    return GRAPH if case.prompt == TEXT else None


def run(aligner, name, **more):
    case, (pipe, _) = zoo.CASES[name], plain(name)
    kwargs = {**case.kwargs, "generator": torch.Generator().manual_seed(0), **more}
    return aligner(pipe, case.prompt, graph=graphs(case), **kwargs)


def state(pipe):
    """What a run could leave behind."""
    modules = {n: m for n, m in pipe.components.items() if isinstance(m, torch.nn.Module)}
    return (
        set(vars(pipe)), set(vars(pipe.unet)), {k: repr(v) for k, v in vars(pipe.scheduler).items() if k == "order"},
        {"step", "set_timesteps", "add_noise"} & set(vars(pipe.scheduler)),
        {n: [p.requires_grad for p in m.parameters()] for n, m in modules.items()},
        [len(m._forward_hooks) for m in pipe.unet.modules()], [type(p) for p in pipe.unet.attn_processors.values()],
    )  # fmt: skip


@pytest.mark.parametrize("name", zoo.CASES)
def test_bit_identical_with_open_slots_and_guided_at_each_evaluation(name):
    case, (pipe, images) = zoo.CASES[name], plain(name)
    before, calls = state(pipe), []
    handle = pipe.unet.conv_in.register_forward_hook(lambda m, args, out: calls.append(args[0].shape[0]))
    try:
        still = run(STILL, name)
    finally:
        handle.remove()
    assert torch.equal(still.images, images)
    assert calls == [len(case.rows) * case.samples] * case.calls
    assert still.trace.evaluations == [case.calls] * case.samples
    if hasattr(pipe, "num_timesteps"):
        assert pipe.num_timesteps == case.calls

    aligner = GUIDED if getattr(pipe, "tokenizer", None) is not None or getattr(pipe, "tokenizer_2", None) else STILL
    guided = run(aligner, name)
    assert guided.images.isfinite().all() and not torch.equal(guided.images, images)
    once = name == "sd-zero-snr"  # its first step starts at pure noise, to which there is no way back
    assert guided.trace.evaluations == [2 * case.calls - once] * case.samples
    for step in guided.trace.steps:
        assert all(length > 0 for length in step.displacement), step
        assert {k: len(v) for k, v in step.losses.items()} == {"semantic": case.samples, "preference": case.samples}
    if hasattr(pipe, "num_timesteps"):
        assert pipe.num_timesteps == case.calls
    assert state(pipe) == before
    assert torch.equal(case.run(pipe), images)


SOME = ("sd-ddim", "sd-euler", "sd-inpaint", "sd-controlnet-guess", "sd-pag", "sdxl", "sd-pix2pix")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("name", SOME)
def test_restored_after_an_exception_in_the_reward(name, error):
    (pipe, images), calls = plain(name), []
    before = state(pipe)

    def reward(pixels, prompts):
        calls.append(1)
        if len(calls) == 3:
            raise error("stop")
        return pixels.mean((1, 2, 3))

    aligner = DyMO(reward, recurrences=1, borders_by="progress", borders=(0.0, 1.0))
    with pytest.raises(error, match="stop"):
        run(aligner, name)
    assert state(pipe) == before
    assert torch.equal(zoo.CASES[name].run(pipe), images)


@pytest.mark.parametrize("name", [n for n in SOME if n not in ("sd-pix2pix",)])
def test_p2_interrupt_stops_with_what_there_is(name):
    case, (pipe, images) = zoo.CASES[name], plain(name)
    seen = []

    def stop(pipe, index, t, found):
        seen.append(index)
        pipe._interrupt = index == 1
        return found

    output = run(GUIDED, name, callback_on_step_end=stop, **zoo.THREE)
    assert seen == [0, 1] and output.trace.cancelled and len(output.trace.steps) == 2
    assert output.images.isfinite().all() and not output.images.requires_grad
    assert torch.equal(case.run(pipe), images)


@pytest.mark.parametrize("name", [name for name in zoo.CASES if zoo.CASES[name].cutoff and name in (*SOME, "sdxl-controlnet", "sd-img2img")])
def test_p3_the_cutoff_callback_fires_at_its_step(name):
    case, (pipe, _) = zoo.CASES[name], plain(name)
    cutoff = case.cutoff(cutoff_step_ratio=0.5, cutoff_step_index=None)
    tensors = ["latents", *cutoff.tensor_inputs]
    calls = {}
    for aligner in (None, GUIDED):
        rows = calls[aligner] = []
        handle = pipe.unet.conv_in.register_forward_hook(lambda m, a, o, rows=rows: rows.append(a[0].shape[0]))
        callback = {"callback_on_step_end": cutoff, "callback_on_step_end_tensor_inputs": tensors, **zoo.FOUR}
        case.run(pipe, **callback) if aligner is None else run(aligner, name, **callback)
        handle.remove()
    first, second = calls.values()
    assert 1 in first and first.count(1) * 2 == second.count(1)


@pytest.mark.parametrize("name", zoo.REFUSED)
def test_p11_refused_with_a_reason(name):
    pipe = zoo.REFUSED[name]()
    with pytest.raises(PipelineError) as said:
        DyMO(tiny.brightness)(pipe, TEXT, graph=GRAPH)
    assert len(str(said.value)) > 40


def test_p4_pix2pix_reads_the_maps_of_its_text_rows_and_repeats_the_right_samples():
    name = "sd-pix2pix-two-images"
    aligner = DyMO(None, h=(400.0,) * 3, max_recurrences=2, borders_by="progress", borders=(1.0, 1.0), damping=0.0, eta=0.02)
    seeds = [torch.Generator().manual_seed(i) for i in range(2)]
    both = run(aligner, name, generator=seeds)
    case = zoo.CASES[name]
    for i in range(2):
        kwargs = {**case.kwargs, "image": zoo.IMAGE, "num_images_per_prompt": 1}
        alone = aligner(plain(name)[0], case.prompt, graph=GRAPH, generator=[torch.Generator().manual_seed(i)], **kwargs)
        torch.testing.assert_close(both.images[i : i + 1], alone.images, atol=2e-4, rtol=0)
        assert both.trace.evaluations[i] == alone.trace.evaluations[0]


@pytest.mark.parametrize("name", ["sd-inpaint", "sd-inpaint-euler"])
def test_p7_the_known_region_has_the_noise_level_of_the_evaluation(name):
    """A repeated step sees the kept region noised to its own level, which the first evaluation of the step saw too."""
    pipe, _ = plain(name)
    seen = []
    handle = pipe.unet.register_forward_pre_hook(
        lambda module, args: seen.append((float(args[1]), args[0][:1, ..., 6:].detach().clone())), with_kwargs=False
    )
    try:
        run(GUIDED, name, **zoo.THREE)
    finally:
        handle.remove()
    by_level = {}
    for t, region in seen:
        by_level.setdefault(t, []).append(region)
    assert all(len(regions) >= 2 for regions in by_level.values())
    # The first latents come from prepare_latents; after the last step pipelines put the region back without noise.
    for regions in list(by_level.values())[1:-1]:
        for region in regions[1:]:
            torch.testing.assert_close(region, regions[0], atol=1e-5, rtol=1e-5)


def test_p5_the_words_of_a_textual_inversion_are_at_its_own_tokens():
    from dymo.prompt import token_pairs

    case = zoo.CASES["sd-textual-inversion"]
    pipe, _ = plain("sd-textual-inversion")
    graph = SemanticGraph.from_json(
        {
            "prompt": case.prompt,
            "entities": [{"text": "<toy>", "attributes": ["red"]}, {"text": "car", "attributes": ["green"]}],
        }
    )
    tokenizer = pipe.tokenizer
    ids = tokenizer(pipe.maybe_convert_prompt(case.prompt, tokenizer)).input_ids
    words = token_pairs(graph, tokenizer).words
    text = {word: "".join(tokenizer.convert_ids_to_tokens([ids[i] for i in at])) for word, at in words.items()}
    assert text == {"<toy>": "<toy><toy>_1<toy>_2", "red": "red</w>", "green": text["green"], "car": "car</w>"}
    assert text["green"].replace("</w>", "") == "green"
