"""The methods that only compare: plain, best-of-N, rewriting, FK-steering."""

import itertools
import math

import flows
import numpy as np
import pytest
import tiny
import torch
import toys
import zoo
from diffusers import HeunDiscreteScheduler, PNDMScheduler, StableDiffusionPipeline

from dymo import Budget, ConfigError, PromptError
from dymo.methods import load_method
from dymo.methods.best_of_n import keep_best
from dymo.methods.fk_steering import log_potential, resample
from dymo.rewards import BlackBoxReward, load_reward

U = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(2))


def linear(images, prompts):
    return ((images - 0.5) * U).sum((1, 2, 3))


def test_plain_is_the_pipeline_bit_for_bit_in_every_output_type():
    pipe, call = tiny.sd(), {**tiny.SMALL, "num_images_per_prompt": 2}
    expected = pipe(["a cat", "a hat"], generator=toys.seeds(0, 1, 2, 3), **call).images
    found = load_method("plain").run(pipe, ["a cat", "a hat"], generator=toys.seeds(0, 1, 2, 3), **call)
    assert torch.equal(found.images, expected)
    assert found.trace.evaluations == [4] * 4
    assert found.trace.cost.denoiser_rows == 4 * 2 * 4 and found.trace.cost.denoiser_backwards == 0
    call |= {"output_type": "pil", "num_images_per_prompt": 1}
    drawn = load_method("plain").run(pipe, "a cat", generator=toys.seeds(0), **call)
    assert drawn.images[0].tobytes() == pipe("a cat", generator=toys.seeds(0), **call).images[0].tobytes()


def test_images_that_a_pipeline_returns_by_another_name_or_none():
    class Bare(StableDiffusionPipeline):
        def __call__(self, *given, **more):
            return (1 - super().__call__(*given, **more).images,)

    run, call = load_method("plain").run, {**tiny.SMALL, "num_inference_steps": 1}
    mine, plain = (run(tiny.sd(kind), "a cat", generator=toys.seeds(0), **call).images for kind in (Bare, StableDiffusionPipeline))
    assert torch.equal(mine, 1 - plain)
    case = flows.FAMILIES["kandinsky5"]
    found = load_method("best-of-n", n=1).run(case.make(), case.prompt, load_reward(tiny.brightness), generator=toys.seeds(0)[0], **case.kwargs)
    assert torch.equal(found.images, case.run(case.make()))


def test_a_reward_is_given_no_transparency_which_the_picture_keeps():
    """As Qwen-Image 2.1's VAE has it."""
    case, seen = flows.FAMILIES["qwen-image-2.1-uncached"], []

    def brightness(images, prompts):
        seen.append(images.shape[1])
        return images.mean((1, 2, 3))

    found = load_method("best-of-n", n=2).run(case.make(), case.prompt, load_reward(brightness), generator=toys.seeds(0)[0], **case.kwargs)
    assert set(seen) == {3} and found.images.shape[1] == 4


def test_a_method_that_only_compares_calls_a_subclass_with_its_own_arguments_and_steps():
    class Preset(StableDiffusionPipeline):
        def __call__(self, prompt, num_inference_steps=3, scale=1.0, **more):
            assert prompt == "a cat"  # and no list, on which a text could not be built
            return super().__call__(prompt, num_inference_steps=num_inference_steps, guidance_scale=scale, **more)

    call = {"scale": 3.0} | {name: value for name, value in tiny.SMALL.items() if name not in ("num_inference_steps", "guidance_scale")}
    best = load_method("best-of-n")
    found = best.run(tiny.sd(Preset), "a cat", load_reward(tiny.brightness), Budget(evaluations=7), toys.seeds(0)[0], **call)
    assert found.trace.evaluations == [6] and found.trace.cost.denoiser_rows == 2 * 6
    with pytest.raises(PromptError, match="Preset takes texts alone"):  # and no embeddings, in which weights could reach its parent
        best.run(tiny.sd(Preset), "a (red:1.3) cat", load_reward(tiny.brightness), Budget(evaluations=7), toys.seeds(0)[0], **call)


def test_the_better_picture_is_kept_picture_by_picture():
    first, second = torch.zeros(3, 1, 2, 2), torch.ones(3, 1, 2, 2)
    images, scores = keep_best(first, torch.tensor([1.0, 2.0, 3.0]), second, torch.tensor([2.0, 1.0, 3.0]))
    assert images.mean((1, 2, 3)).tolist() == [1, 0, 0] and scores.tolist() == [2, 2, 3]


@pytest.mark.parametrize(("n", "of_unit"), [(2, 1 / math.sqrt(math.pi)), (4, 1.02938)])
def test_best_of_n_has_the_expected_maximum_of_n_normals(n, of_unit):
    """The picture is a noise + b, so a linear reward of it is normal with mean and deviation that are known."""
    pipe, count = toys.pipeline(), 100
    a, b = toys.affine(pipe, "x")
    found = load_method("best-of-n", n=n).run(
        pipe, ["x"] * count, load_reward(linear), generator=toys.seeds(*range(count)), **toys.CALL
    )
    deviation, mean = a * U.norm().item(), ((b - 0.5) * U.sum()).item()
    units = (linear(found.images, None) - mean) / deviation
    assert abs(units.mean().item() - of_unit) < 4 / math.sqrt(count)
    assert found.trace.evaluations == [4 * n] * count
    assert found.trace.cost.reward_calls == n * count


def test_best_of_n_takes_what_the_budget_affords_and_never_less_than_the_plain_picture():
    pipe, reward = toys.pipeline(), load_reward(linear)
    found = load_method("best-of-n").run(pipe, "x", reward, Budget(evaluations=15), toys.seeds(0), **toys.CALL)
    assert found.trace.evaluations == [12] and found.trace.config == {"n": 3}
    plain = load_method("plain").run(pipe, "x", generator=toys.seeds(0), **toys.CALL)
    assert linear(found.images, None) >= linear(plain.images, None)
    with pytest.raises(ConfigError, match="less than the 4 steps"):
        load_method("best-of-n").run(pipe, "x", reward, Budget(evaluations=3), **toys.CALL)
    with pytest.raises(ConfigError, match="no end"):
        load_method("best-of-n").run(pipe, "x", reward, **toys.CALL)


def test_rewriting_paints_the_rewritten_prompt_and_judges_by_the_users_own():
    pipe, asked = tiny.sd(), []

    def knows(images, prompts):
        asked.append(list(prompts))
        return images.mean((1, 2, 3))

    method = load_method("rewrite", rewriter=lambda prompt: [f"{prompt}, sharp", f"{prompt}, bright"])
    found = method.run(pipe, "a cat", load_reward(knows), generator=toys.seeds(0), **tiny.SMALL)
    assert torch.equal(found.images, pipe("a cat, sharp", generator=toys.seeds(0), **tiny.SMALL).images)
    assert asked == []
    both = [pipe(f"a cat, {word}", generator=toys.seeds(0), **tiny.SMALL).images for word in ("sharp", "bright")]
    found = method.run(pipe, "a cat", load_reward(knows), Budget(evaluations=8), toys.seeds(0), **tiny.SMALL)
    assert torch.equal(found.images, max(both, key=lambda images: images.mean().item()))
    assert asked == [["a cat"], ["a cat"]]


def law(kind: str, strength: float, p1, p0, r1, r0):
    """The law of (x1, x0) under the potentials, by enumeration of all paths."""
    path = torch.zeros(len(r1), len(r0), dtype=torch.float64)
    for i, j in itertools.product(range(len(r1)), range(len(r0))):
        past, now = torch.tensor([r1[i]]), torch.tensor([r1[i], r0[j]])
        weight = log_potential(past, kind, strength) + log_potential(now, kind, strength)
        path[i, j] = p1[i] * p0[i][j] * math.exp(weight)
    return path / path.sum()


@pytest.mark.parametrize("kind", ["max", "diff", "add"])
def test_resampling_gives_the_law_that_enumeration_gives(kind):
    """A chain of two steps with three and two states; the particles' shares against the sum over all paths."""
    p1, p0 = [0.5, 0.3, 0.2], [[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]]
    r1, r0, strength, k = [0.0, 0.5, 1.0], [0.2, 0.9], 1.5, 200_000
    random = torch.Generator().manual_seed(0)
    x1 = torch.multinomial(torch.tensor(p1), k, replacement=True, generator=random)
    history = torch.tensor(r1)[x1][None, None]  # (times, pictures, particles)
    chosen = resample(log_potential(history, kind, strength), [random])
    x1, history = x1[chosen[0]], history.gather(2, chosen[None])
    x0 = torch.multinomial(torch.tensor(p0)[x1], 1, generator=random)[:, 0]
    history = torch.cat([history, torch.tensor(r0)[x0][None, None]])
    chosen = resample(log_potential(history, kind, strength), [random])[0]
    shares = torch.bincount(x1[chosen] * 2 + x0[chosen], minlength=6).view(3, 2) / k
    torch.testing.assert_close(shares.double(), law(kind, strength, p1, p0, r1, r0), atol=6e-3, rtol=0)


def test_diff_potentials_telescope_to_the_reward_of_the_end():
    p1, p0 = [0.5, 0.5], [[0.9, 0.1], [0.4, 0.6]]
    r1, r0 = [0.3, -2.0], [0.2, 0.9]
    found = law("diff", 2.0, p1, p0, r1, r0).sum(0)
    end = [sum(p1[i] * p0[i][j] for i in range(2)) * math.exp(2.0 * r0[j]) for j in range(2)]
    torch.testing.assert_close(found, torch.tensor(end, dtype=torch.float64) / sum(end))


def test_fk_steering_raises_its_reward_at_the_cost_of_its_particles():
    pipe, count = toys.pipeline(), 24
    call = {**toys.CALL, "num_inference_steps": 6}
    reward = BlackBoxReward(
        lambda pictures, prompts: [float(np.asarray(p)[..., 0].mean()) for p in pictures], "redness"
    )
    runs = {
        k: load_method("fk-steering", k=k, strength=2.0).run(
            pipe, ["x"] * count, reward, generator=toys.seeds(*range(count)), **call
        )
        for k in (1, 4)
    }
    scores = {k: reward.score(run.images, ["x"] * count) for k, run in runs.items()}
    assert scores[4].mean() > scores[1].mean() + 2 * scores[1].std() / math.sqrt(count)
    assert runs[4].trace.evaluations == [24] * count and runs[4].trace.cost.denoiser_backwards == 0
    assert runs[4].trace.cost.decodes == 4 * 4 * count  # four resamplings
    plain = pipe(["x"] * count, generator=toys.seeds(*range(count)), eta=1.0, **call).images
    assert torch.equal(runs[1].images, plain)
    paid = load_method("fk-steering").run(pipe, "x", reward, Budget(evaluations=20), toys.seeds(0), **call)
    assert paid.trace.evaluations == [18]


def test_fk_steering_that_runs_late_goes_on_with_the_best_alone():
    pipe, call = tiny.sd(), {**tiny.SMALL, "num_inference_steps": 8}
    run = load_method("fk-steering", k=3).run(
        pipe, "a cat", load_reward(tiny.brightness), Budget(seconds=1e-9), toys.seeds(0), **call
    )
    # Once narrowed, two of three particles cost nothing.
    assert run.trace.config["narrowed"] == 0 and run.trace.evaluations == [3 + 7]
    assert run.images.shape == (1, 3, 32, 32)


def test_particles_of_one_ancestor_part_where_the_call_says_that_the_sampler_draws_no_noise():
    ends = []

    def reward(images, prompts):
        ends[:] = [images]
        return 1e6 * images.mean((1, 2, 3))  # all of the weight is the best particle's

    load_method("fk-steering", k=2, resamplings=1).run(tiny.sd(), "a cat", load_reward(reward), generator=toys.seeds(0), **tiny.SMALL, eta=0.0)
    (images,) = ends
    assert not torch.equal(*images)


@pytest.mark.parametrize("kind", [HeunDiscreteScheduler, PNDMScheduler])
def test_particles_are_as_many_as_the_budget_affords_where_a_step_takes_several_evaluations(kind):
    skip = {"skip_prk_steps": True} if kind is PNDMScheduler else {}
    run = load_method("fk-steering").run(
        tiny.sd(scheduler=tiny.scheduler(kind, **skip)), "a cat", load_reward(tiny.brightness), Budget(evaluations=15), toys.seeds(0), **tiny.SMALL
    )
    each = {HeunDiscreteScheduler: 7, PNDMScheduler: 5}[kind]  # of four steps
    assert run.trace.evaluations == [15 // each * each]


def test_a_budget_is_held_against_the_evaluations_that_the_run_makes():
    """Heun's step takes two; a picture that is painted over takes a part of the steps."""
    calls, reward, method = [], load_reward(tiny.brightness), load_method("fk-steering")
    pipe, case = tiny.sd(scheduler=tiny.scheduler(HeunDiscreteScheduler)), zoo.CASES["sd-img2img"]
    pipe.unet.register_forward_pre_hook(lambda *_: calls.append(1))
    with pytest.raises(ConfigError, match="less than the 7 evaluations that this sampler makes in the 4 steps"):
        method.run(pipe, "a cat", reward, Budget(evaluations=6), toys.seeds(0), **tiny.SMALL)
    assert not calls
    call = {**case.kwargs, "num_inference_steps": 4, "strength": 0.5}
    assert method.run(case.make(), "a cat", reward, Budget(evaluations=2), toys.seeds(0), **call).trace.evaluations == [2]
