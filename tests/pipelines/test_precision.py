"""Half precision against float32, and what the host reads back."""

from __future__ import annotations

import contextlib
import functools

import pytest
import tiny
import torch

from dymo import DyMO, load_miniature
from dymo.guidance.gradient import gradient
from dymo.guidance.loop import Need
from dymo.guidance.objectives import Preference, SemanticAlignment
from dymo.miniature import load_tiny_decoder
from dymo.pipelines.decode import decoder
from dymo.pipelines.hold import frozen
from dymo.pipelines.loop import PipelineLoop
from dymo.prompt import parse, token_pairs
from dymo.trace import Cost

PROMPT = "a red apple to the left of a green car"


@functools.cache
def gradients(dtype, strength=1.0, semantic=True):
    """The gradient of each step of a short unguided run on the miniature, at latents that do not depend on the precision."""
    from dymo import load_reward

    pipe = load_miniature(dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    reward = load_reward("mini-pickscore")
    objectives = [Preference(lambda images, rows, t: strength * reward.score(images, [PROMPT] * len(rows)))]
    if semantic:
        objectives.append(SemanticAlignment([token_pairs(parse(PROMPT), pipe.tokenizer)]))
    call = dict(prompt=PROMPT, num_inference_steps=2, guidance_scale=1.5, output_type="latent", height=64, width=64)
    found = []
    vae = pipe.vae if semantic else load_tiny_decoder().to(dtype)
    modules = [pipe.unet, vae, pipe.text_encoder]
    with torch.enable_grad(), frozen(modules):
        loop = PipelineLoop(
            pipe, {**call, "generator": torch.Generator().manual_seed(0)}, decode=decoder(vae), cost=Cost()
        )
        with loop:
            for now in loop:
                z = torch.randn(1, *loop.shape[1:-1], generator=torch.Generator().manual_seed(now.index))
                loop.predict()
                seen = loop.predict(z, need=Need(semantic, "full"))
                found.append(gradient([o.loss(seen) for o in objectives], seen))
                loop.accept(loop.sampler_step(seen))
    return found


@pytest.fixture(scope="module")
def exact():
    return gradients(torch.float32)


def cosines(found, expected):
    return [
        torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0).item()
        for a, b in zip(found, expected, strict=True)
    ]


@pytest.mark.miniature
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_p8_gradients_in_half_precision_point_where_float32_s_do(dtype, exact):
    assert min(cosines(gradients(dtype), exact)) > 0.995


@pytest.mark.miniature
@pytest.mark.parametrize("strength", [1e4, 1e-4])
def test_p8_a_reward_of_any_strength_steers_in_float16(strength):
    expected = gradients(torch.float32, semantic=False)
    found = gradients(torch.float16, strength, semantic=False)
    assert min(cosines(found, expected)) > 0.995
    for a, b in zip(found, expected, strict=True):
        assert a.norm().item() == pytest.approx(strength * b.norm().item(), rel=0.05)


def test_p8_displacements_below_a_bfloat16_step_add_up():
    """A push of a tenth of a unit in the last place, many times: plain rounding would lose every one of them."""
    torch.manual_seed(0)
    pipe = tiny.sd(unet=tiny.unet(**tiny.THREE_LEVELS))
    pipe.to(torch.bfloat16)
    call = dict(prompt=tiny.PROMPT, num_inference_steps=20, height=32, width=32, output_type="latent")
    ends = {}
    for push in (0.0, 2e-4):
        loop = PipelineLoop(
            pipe, {**call, "generator": torch.Generator().manual_seed(0)}, decode=decoder(pipe.vae), cost=Cost()
        )
        total = 0.0
        with torch.no_grad(), loop:
            for _ in loop:
                seen = loop.predict()
                z = loop.sampler_step(seen)
                loop.accept(z + push)
                total += float(loop._carry.abs().max())
        ends[push] = loop.result.images.float()
        assert (total > 0) == (push > 0)
    assert (ends[2e-4] - ends[0.0]).mean() > 5e-4


@contextlib.contextmanager
def host_reads(monkeypatch):
    """Counts tensors whose values the host asks for."""
    count = [0]
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "numpy", "__index__"):
        original = getattr(torch.Tensor, name)

        def counted(self, *args, __original=original, **kwargs):
            count[0] += not isinstance(self, torch.nn.Parameter)
            return __original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, counted)
    yield count
    monkeypatch.undo()


@pytest.mark.parametrize("recurrences", [0, 2])
def test_p16_one_host_read_a_step_beyond_the_pipeline_s_own(monkeypatch, recurrences):
    pipe = tiny.sd()
    counts = {}
    for steps in (2, 4):
        call = dict(tiny.SMALL, num_inference_steps=steps)
        for name, aligner in (
            ("still", DyMO(None, semantic_weight=0)),
            ("guided", DyMO(tiny.brightness, h=1e9, max_recurrences=recurrences)),
        ):
            with host_reads(monkeypatch) as count:
                aligner(pipe, tiny.PROMPT, generator=torch.Generator().manual_seed(0), **call)
            counts[name, steps] = count[0]
    # What the pipeline reads in each of its own evaluations: the difference between two and four steps.
    own = (counts["still", 4] - counts["still", 2]) / 2
    guided = (counts["guided", 4] - counts["guided", 2]) / 2
    assert guided <= (1 + recurrences) * own + 1, counts
