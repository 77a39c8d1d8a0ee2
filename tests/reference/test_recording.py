"""The recording is complete: plain torch and diffusers, without the engine, compute from it what was recorded."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from reference import recording
from torch import Tensor

from dymo.rewards import placed

GUIDANCE = 7.5
C = {"semantic": 1.5, "mixed": 1.0, "preference": 1.0}
H = {"semantic": 1.0, "mixed": 1.0, "preference": 3.0}


class Probe:
    """Attention by matrices, which keeps the probabilities of cross-attention on 16x16 pixels."""

    def __init__(self):
        self.maps: list[Tensor] = []

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_
    ) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        projected = (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        query, key, value = (attn.head_to_batch_dim(x) for x in projected)
        probabilities = attn.get_attention_scores(query, key)
        if encoder_hidden_states is not None and probabilities.shape[1] == 16 * 16:
            self.maps.append(probabilities)
        return attn.to_out[0](attn.batch_to_head_dim(probabilities @ value))


@pytest.fixture(scope="module")
def pipe():
    return recording.pipeline()


@pytest.fixture(scope="module")
def reward():
    with placed([model := recording.reward()], "cpu"):  # images are not clamped here
        yield model


@pytest.fixture(scope="module")
def embeddings(pipe):
    conditional, unconditional = pipe.encode_prompt(recording.prompt(), "cpu", 1, True, negative_prompt="")
    return torch.cat([unconditional, conditional])


def predict(pipe, embeddings, z, t):
    """z0' and ||eps_cond - eps_uncond||."""
    unconditional, conditional = pipe.unet(torch.cat([z, z]), t, encoder_hidden_states=embeddings).sample.chunk(2)
    eps = unconditional + GUIDANCE * (conditional - unconditional)
    abar = pipe.scheduler.alphas_cumprod[t]
    return (z - (1 - abar).sqrt() * eps) / abar.sqrt(), (conditional - unconditional).norm().item()


def semantic(maps: Tensor) -> Tensor:
    """L_A of maps (pixels, tokens); every piece of a word is paired on its own."""

    def mean(pairs):
        return torch.stack([F.cosine_similarity(maps[:, a], maps[:, b], dim=0) for a, b in pairs]).mean()

    return mean(recording.pairs()["neg"]) - mean(recording.pairs()["pos"])


def test_the_prompt_has_its_pieces_where_the_pairs_say(pipe):
    tokens = pipe.tokenizer.convert_ids_to_tokens(pipe.tokenizer(recording.prompt()).input_ids)
    named = {kind: [(tokens[a], tokens[b]) for a, b in found] for kind, found in recording.pairs().items()}
    assert named["pos"] == [("bear</w>", "white</w>"), ("bear</w>", "cub</w>")]
    assert named["neg"][0] == ("bear</w>", "sunglasses</w>") and named["neg"][-1] == ("meadow</w>", "flowers</w>")


def test_r_t_counts_the_recurrences_and_is_not_capped():
    evaluations = recording.evaluations()
    first = [e for e in evaluations if e.recurrence == 0]
    assert len(evaluations) == sum(1 + e.r_t for e in first) == 41 and max(e.r_t for e in first) == 8
    for e in first:
        assert e.r_t == int(H[e.stage] * e.gradient_norm)


@pytest.mark.parametrize("index", [0, 5, 9, 40])
def test_an_evaluation_is_as_recorded(pipe, reward, embeddings, index):
    evaluation = recording.evaluations()[index]
    probe = Probe()
    before = None
    if index:
        last = recording.evaluations()[index - 1]
        with torch.no_grad():
            before, _ = predict(pipe, embeddings, last.z, last.t)
    pipe.unet.set_attn_processor(probe)
    z = evaluation.z.clone().requires_grad_()
    z0, residual = predict(pipe, embeddings, z, evaluation.t)
    loss_a = semantic(torch.cat(probe.maps).mean(0))  # heads, layers and both halves of guidance alike
    image = pipe.vae.decode(z0 / pipe.vae.config.scaling_factor).sample / 2 + 0.5
    loss_r = -reward.score(image, [recording.prompt()], float(evaluation.t)).norm()
    if before is not None:
        here, there = F.instance_norm(z0), F.instance_norm(before)
        w = 1 - torch.exp(-(here - there).norm() / there.norm())
        assert (10 * w).item() == pytest.approx(evaluation.w_A, abs=2e-5)
        assert (1 - w).item() == pytest.approx(evaluation.w_R, abs=2e-6)
    if evaluation.stage == "mixed":
        loss = 10 * w * loss_a + (1 - w) * loss_r  # the gradient flows through w
    else:
        loss = 10 * loss_a if evaluation.stage == "semantic" else loss_r
    (gradient,) = torch.autograd.grad(loss, z)
    assert loss_a.item() == pytest.approx(evaluation.loss_semantic, rel=1e-5)
    assert loss_r.item() == pytest.approx(evaluation.loss_preference, rel=3e-5)
    assert gradient.norm().item() == pytest.approx(evaluation.gradient_norm, rel=1e-3)
    assert evaluation.cosine(gradient) > 1 - 1e-4
    assert residual == pytest.approx(evaluation.residual, rel=1e-4)
    assert C[evaluation.stage] * residual == pytest.approx(evaluation.displacement, rel=1e-4)
