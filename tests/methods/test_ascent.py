"""The methods that climb: DNO, ReNO and embedding optimisation reach optima that are known."""

import math

import flows
import pytest
import relatives
import tiny
import torch
import toys
import zoo

from dymo import Budget, PipelineError, RewardError
from dymo.methods import load_method
from dymo.methods.ascent import ascend, clip_each
from dymo.methods.dno import _Chain, log_probability
from dymo.methods.reno import _Start, noise_penalty
from dymo.methods.run import Run
from dymo.methods.unguided import unguided
from dymo.rewards import BlackBoxReward, load_reward

TARGET = 0.5 + 0.05 * torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(3))
D = TARGET.numel()


def near_target(images, prompts):
    return -50 * (images - TARGET).pow(2).sum((1, 2, 3))


def test_noise_penalty_is_least_at_the_typical_norm_and_is_the_negative_log_density_of_the_norm():
    sizes = torch.tensor([2.0, math.sqrt(D - 1), 20.0])
    noise = torch.zeros(3, D)
    noise[:, 0] = sizes
    noise.requires_grad_()
    found = noise_penalty(noise)
    (slope,) = torch.autograd.grad(found.sum(), noise)
    torch.testing.assert_close(slope[:, 0], sizes - (D - 1) / sizes, atol=1e-4, rtol=1e-4)
    assert slope[1].abs().max() < 1e-3 and found.argmin() == 1
    # Chi distribution: density ~ r^(d-1) exp(-r^2 / 2).
    chi = torch.distributions.Chi2(torch.tensor(float(D)))
    density = chi.log_prob(sizes**2) + sizes.log()
    torch.testing.assert_close(found - found[1], density[1] - density, atol=1e-3, rtol=1e-4)


def test_clipping_is_joint_per_sample_and_drops_what_is_not_finite():
    a, b = torch.tensor([[3.0], [0.3], [1.0]]), torch.tensor([[4.0], [0.4], [float("nan")]])
    first, second = clip_each([a, b], 1.0)
    torch.testing.assert_close(first, torch.tensor([[0.6], [0.3], [0.0]]))
    torch.testing.assert_close(second, torch.tensor([[0.8], [0.4], [0.0]]))


def test_reno_reaches_the_optimum_of_a_quadratic_reward_under_its_regulariser():
    """r - 0.3 K along the target's direction: s^2 (l + q a^2) - q a |v| s - l (d - 1) = 0, solved by hand."""
    pipe, weight, q = toys.pipeline(), 0.3, 100.0
    a, b = toys.affine(pipe, "x")
    over = _Start(weight)
    with Run(pipe, "x", load_reward(near_target), None, toys.seeds(0), dict(toys.CALL)) as run:
        rate = 1 / (q * a * a + 2 * weight)
        made = ascend(run, over, lambda leaves: torch.optim.SGD(leaves, lr=rate), 60, 1e9, keep="last")
    v = TARGET - b
    lead = weight + q * a * a
    s = (q * a * v.norm() + math.sqrt((q * a * v.norm()) ** 2 + 4 * lead * weight * (D - 1))) / (2 * lead)
    torch.testing.assert_close(over.leaves[0][0], (s * v / v.norm()).float(), atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(made[0], (a * s * v / v.norm() + b).float(), atol=1e-3, rtol=1e-3)


def test_reno_returns_the_best_seen_and_not_the_last():
    pipe = toys.pipeline()
    seen = []

    def watched(images, prompts):
        found = near_target(images, prompts)
        seen.append(found.detach())
        return found

    # A rate at which plain ascent overshoots and diverges.
    found = load_method("reno", iterations=6, lr=400.0, momentum=0.0, clip=1e9).run(
        pipe, ["x", "y"], load_reward(watched), generator=toys.seeds(0, 1), **toys.CALL
    )
    assert len(seen) == 7
    scores = torch.stack(seen)
    assert (scores[-1] < scores.amax(0)).any()
    torch.testing.assert_close(near_target(found.images, None), scores.amax(0))


def test_log_probability_follows_the_concentration_bounds():
    n, k = 4096, 4
    orders = torch.stack([torch.randperm(n, generator=torch.Generator().manual_seed(i)) for i in range(3)])
    typical = torch.randn(2, n, generator=torch.Generator().manual_seed(0))
    assert (log_probability(typical, k, orders) > -3).all()
    # All values c: the mean vector has norm c sqrt(k), the covariance k c^2 - 1 as its largest deviation (or 1).
    constant, m = 1.0, n // k
    by_mean = math.log(2) - m * (constant**2 * k) / (2 * k)
    by_covariance = math.log(2) - m * (math.sqrt(k * constant**2) - 1 - math.sqrt(k / m)) ** 2 / 2
    found = log_probability(torch.full((1, n), constant), k, orders)
    assert found.item() == pytest.approx(min(by_mean, by_covariance), rel=1e-4)


def test_dno_reaches_the_optimum_of_a_quadratic_reward():
    """Zero at the target: four noises of each pixel more than reach it."""
    reward, pipe = load_reward(near_target), toys.pipeline()
    first, last = (
        load_method("dno", iterations=n, lr=0.05, clip=1e9, gamma=0.0).run(
            pipe, "x", reward, generator=toys.seeds(0), **toys.CALL
        )
        for n in (0, 100)
    )
    assert (last.images[0] - TARGET).abs().mean() < 0.02 * (first.images[0] - TARGET).abs().mean()


def test_dnos_regulariser_balances_the_reward_and_keeps_the_noise_typical():
    def bright(images, prompts):
        return 40 * images.mean((1, 2, 3))

    order, noises = torch.arange(5 * D)[None], {}
    for gamma in (0.0, 1.0):
        over = _Chain(gamma, 4, 4, seed=0)
        with Run(toys.pipeline(), "x", load_reward(bright), None, toys.seeds(0), {"eta": 1.0, **toys.CALL}) as run:
            ascend(run, over, lambda leaves: torch.optim.Adam(leaves, lr=0.05), 40, 1e9, keep="last")
        noises[gamma] = torch.cat([leaf.detach().flatten(1) for leaf in over.leaves], 1)
    free, held = (log_probability(noises[g], 4, order).item() for g in (0.0, 1.0))
    assert free < -100 and held > free / 10
    assert noises[1.0].mean() > torch.randn(5 * D).mean() + 0.02  # yet the reward moved it


def test_embedding_optimisation_moves_the_conditional_mean_to_the_wanted_one():
    """The toy's picture depends on the embedding through its mean alone: a quadratic reward in one number."""

    def as_bright_as(images, prompts):
        return -100 * (images.mean((1, 2, 3)) - 0.54).pow(2)

    pipe = toys.pipeline()
    found = load_method("embedding", iterations=80, lr=0.02).run(
        pipe, "x", load_reward(as_bright_as), generator=toys.seeds(0), **toys.CALL
    )
    assert found.images.mean().item() == pytest.approx(0.54, abs=2e-3)


def test_the_first_image_is_the_pipelines_own_and_the_account_is_whole():
    pipe, steps = tiny.sd(), 2
    call = dict(num_inference_steps=steps, height=32, width=32, output_type="pt", guidance_scale=2.0)
    reward = load_reward(tiny.brightness)
    for name in ("reno", "dno", "embedding"):
        found = load_method(name, iterations=2).run(
            pipe, ["a cat", "a hat"], reward, generator=toys.seeds(0, 1), **call
        )
        cost = found.trace.cost
        # Two differentiated trajectories, each run again in its backward, and one plain.
        assert found.trace.evaluations == [3 * steps] * 2, name
        assert cost.denoiser_rows == (3 + 2) * steps * 4, name
        assert cost.denoiser_backwards == 2 * steps * 4, name
    none = load_method("reno", iterations=0).run(pipe, ["a cat", "a hat"], reward, generator=toys.seeds(0, 1), **call)
    plain = pipe(["a cat", "a hat"], generator=toys.seeds(0, 1), **call).images
    assert torch.equal(none.images, plain)
    assert none.trace.cost.denoiser_backwards == 0


def test_a_batch_gives_what_single_runs_give():
    pipe, reward = toys.pipeline(), load_reward(near_target)
    method = load_method("reno", iterations=3, lr=5.0)
    both = method.run(pipe, ["x", "a cat"], reward, generator=toys.seeds(0, 1), **toys.CALL).images
    for i, text in enumerate(["x", "a cat"]):
        one = method.run(pipe, text, reward, generator=toys.seeds(i), **toys.CALL).images
        torch.testing.assert_close(both[i], one[0], atol=1e-5, rtol=1e-4)


def test_a_budget_bounds_the_updates():
    pipe, reward = toys.pipeline(), load_reward(near_target)
    method = load_method("reno")
    found = method.run(pipe, "x", reward, Budget(evaluations=11), toys.seeds(0), **toys.CALL)
    assert found.trace.evaluations == [8]  # two trajectories of four
    quick = method.run(pipe, "x", reward, Budget(seconds=1e-6), toys.seeds(0), **toys.CALL)
    assert quick.trace.evaluations == [4]


def test_a_scorer_without_gradient_is_refused_with_the_way_out():
    with pytest.raises(RewardError, match="best-of-n"):
        load_method("reno").run(toys.pipeline(), "x", BlackBoxReward(lambda p, t: [0.0]), **toys.CALL)


def test_the_way_back_computes_the_decoder_again_in_the_pieces_of_the_way_there():
    """A checkpoint in a checkpoint: pieces of another cut do not fit what was kept."""
    pipe, seen = tiny.sd(), []
    block = pipe.vae.decoder.mid_block
    handle = block.register_forward_pre_hook(lambda *_: seen.append(torch.is_grad_enabled() and pipe.vae.is_gradient_checkpointing))
    call = dict(num_inference_steps=2, height=64, width=64, output_type="pt", guidance_scale=1.0)
    load_method("reno", iterations=1).run(pipe, tiny.PROMPT, load_reward(tiny.brightness), generator=toys.seeds(0), **call)
    handle.remove()
    # There, back, and once more without a gradient.
    assert seen == [True, True, False] and not pipe.vae.is_gradient_checkpointing


# Perturbed attention takes its processors out at the pipeline's end, and the way back runs each forward again after it; HunyuanDiT's
# forward takes its ControlNet's residuals out of their list; HunyuanImage's guidance goes on from step to step.
@pytest.mark.parametrize("name", ["sd-pag", "hunyuan-dit-controlnet", "hunyuan-image"])
def test_the_way_back_through_a_whole_run_is_that_of_finite_differences(name):
    case = {**zoo.CASES, **flows.FAMILIES, **flows.FORMS}[name]
    pipe, slope = case.make().to(torch.float64), torch.zeros((), dtype=torch.float64, requires_grad=True)
    call = {**case.kwargs, "num_inference_steps": 2}
    denoiser = getattr(pipe, "unet", None) or pipe.transformer
    before = dict(denoiser.attn_processors)
    with Run(pipe, tiny.PROMPT, load_reward(tiny.brightness), None, torch.Generator().manual_seed(0), call) as run:
        run.need_gradient()

        def direction(shape):
            return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))

        def end(along, whole):
            torch.manual_seed(0)  # ControlNets' pipelines draw from it, whatever the generator
            images = run.generate(unguided, start=lambda z: z + along * direction(z.shape), whole=whole)
            return (images * direction(images.shape)).sum()

        (found,) = torch.autograd.grad(end(slope, True), slope)
        wanted = (end(1e-3, False) - end(-1e-3, False)) / 2e-3
    assert found.item() == pytest.approx(wanted.item(), rel=2e-2) and abs(found.item()) > 0.1
    assert dict(denoiser.attn_processors) == before


@pytest.mark.parametrize("name", ["flux-true-cfg", "qwen-image"])
def test_the_negative_prompt_s_embeddings_are_not_optimised(name, monkeypatch):
    case, given = flows.FAMILIES[name], []
    pipe = case.make()
    forward = pipe.transformer.forward

    def watched(*args, **kwargs):
        given.append(kwargs["encoder_hidden_states"].detach().clone())
        return forward(*args, **kwargs)

    monkeypatch.setattr(pipe.transformer, "forward", watched)
    load_method("embedding", iterations=1, lr=0.1).run(
        pipe, case.prompt, load_reward(tiny.brightness), generator=torch.Generator().manual_seed(0), **{**case.kwargs, "output_type": "pt"}
    )
    assert torch.equal(given[1], given[-1]) and not torch.equal(given[0], given[-2])


KINDS = {
    "hidream": ("encoder_hidden_states_t5", "encoder_hidden_states_llama3"), "hunyuan-dit": ("encoder_hidden_states", "encoder_hidden_states_t5"),
    "hunyuan-image": ("encoder_hidden_states", "encoder_hidden_states_2"), "fibo": ("encoder_hidden_states", "text_encoder_layers"),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_the_tokens_of_every_text_encoder_are_optimised(name):
    case, given = flows.FAMILIES[name], []
    pipe = case.make()

    def note(module, args, kwargs):
        kinds = (kwargs[kind] for kind in KINDS[name])
        given.append([torch.stack(kind) if isinstance(kind, list) else kind for kind in kinds])

    pipe.transformer.register_forward_pre_hook(note, with_kwargs=True)
    load_method("embedding", iterations=1, lr=0.1, regularisation=1.0).run(
        pipe, case.prompt, load_reward(tiny.brightness), generator=torch.Generator().manual_seed(0), **{**case.kwargs, "output_type": "pt"}
    )
    calls = len(given) // 3  # the first trajectory's steps are computed again on the way back
    for before, after in zip(given[0], given[2 * calls], strict=True):
        moved = (after - before).abs().flatten(-2).amax(-1)
        assert moved[..., -1:].min() > 1e-3 and not moved[..., :-1].any(), "the prompt's rows, behind those without it, in every layer"


REFUSED = {
    "keeps the embeddings": flows.FAMILIES["z-image"], "no encode_prompt": zoo.CASES["sd-pix2pix"],
    "set use_kv_cache=False": flows.FAMILIES["qwen-image-2.1"],
}  # fmt: skip


@pytest.mark.parametrize(("said", "case"), REFUSED.items(), ids=list(REFUSED))
def test_embeddings_that_cannot_be_reached_are_told_and_noise_can_be(case, said):
    call = {**case.kwargs, "output_type": "pt", "generator": torch.Generator().manual_seed(0)}
    with pytest.raises(PipelineError, match=said):
        load_method("embedding", iterations=1).run(case.make(), case.prompt, load_reward(tiny.brightness), **call)
    assert load_method("reno", iterations=1).run(case.make(), case.prompt, load_reward(tiny.brightness), **call).images.isfinite().all()


def test_a_pipeline_whose_safety_checker_says_more_than_others_and_is_left_out():
    case = relatives.CASES["StableDiffusionUpscalePipeline"]
    call = {**case.kwargs, "generator": torch.Generator().manual_seed(0)}
    assert load_method("reno", iterations=1).run(case.make(), case.prompt, load_reward(tiny.brightness), **call).images.isfinite().all()


def test_the_way_back_after_the_end_passes_through_what_is_patched_for_the_run():
    """HiDream's experts have a gradient only while they are steered, and each step is computed again on the way back."""
    case = flows.FAMILIES["hidream"]
    call = {**case.kwargs, "output_type": "pt", "generator": torch.Generator().manual_seed(0)}
    assert load_method("reno", iterations=1).run(case.make(), case.prompt, load_reward(tiny.brightness), **call).images.isfinite().all()
