"""The methods that push the latent on its way: FreeDoM and Attend-and-Excite."""

from itertools import pairwise

import flows
import pytest
import tiny
import torch
import toys
import zoo
from diffusers import AutoencoderTiny, ClassifierFreeGuidance

from dymo import Budget, ConfigError, PipelineError, SemanticGraph, parse
from dymo.methods import load_method
from dymo.methods.attend_excite import descend, excitation
from dymo.methods.freedom import FreeDoM
from dymo.methods.run import Run
from dymo.prompt import token_pairs
from dymo.rewards import load_reward

U = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(2))


def linear(images, prompts):
    return ((images - 0.5) * U).sum((1, 2, 3))


def test_freedom_moves_by_a_fifth_of_the_guidance_along_the_unit_gradient():
    """DDIM on the toy by hand, the push added from 30 to 70 % of the steps; a linear reward's direction is known."""
    pipe, scale, steps = toys.pipeline(), 3.0, 10
    call = {**toys.CALL, "num_inference_steps": steps, "guidance_scale": scale}
    noise = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    method = load_method("freedom", times=1)
    found = method.run(pipe, "a cat", load_reward(linear), latents=noise.clone(), **call)
    conditional, negative = pipe.encode_prompt("a cat", "cpu", 1, True)
    abar, times, z = pipe.scheduler.alphas_cumprod, pipe.scheduler.timesteps.tolist(), noise
    for i, (t, before) in enumerate(zip(times, [*times[1:], None], strict=True)):
        here, there = abar[t], abar[before] if before is not None else abar[0]
        with torch.no_grad():
            c, u = (pipe.unet(z, t, encoder_hidden_states=e)[0] for e in (conditional, negative))
        eps = u + scale * (c - u)
        z0 = (z - (1 - here).sqrt() * eps) / here.sqrt()
        z = there.sqrt() * z0 + (1 - there).sqrt() * eps
        if 3 <= i < 7:
            z = z + 0.2 * scale * (c - u).norm() * U / U.norm()
    torch.testing.assert_close(found.images, toys.SCALE * z + 0.5, atol=1e-5, rtol=1e-4)
    assert found.trace.evaluations == [steps]


@pytest.mark.parametrize("name", ["freedom", "fk-steering", "dymo"])
def test_a_vae_for_the_predictions_may_be_named(name, tmp_path):
    """As `dymo bench` names it; it is the one of the folder that decodes, and not the pipeline's own."""
    torch.manual_seed(3)
    vae = AutoencoderTiny(decoder_block_out_channels=(8, 8), num_decoder_blocks=(1, 1)).eval()
    vae.save_pretrained(tmp_path)
    more = {"settings": {"few_steps": "never", "borders": (1000, 1000), "scouts": 0}} if name == "dymo" else {}

    def scores(preview):
        method = load_method(name, preview_vae=preview, **more)
        seen = []

        def reward(images, prompts):
            seen.append(images.detach().mean().item())
            return images.mean((1, 2, 3))

        method.run(tiny.sd(), "a cat", load_reward(reward), generator=toys.seeds(0), **tiny.SMALL)
        return seen

    named = scores(str(tmp_path))
    assert named == pytest.approx(scores(vae)) and named != pytest.approx(scores(None), abs=1e-3)


def test_freedom_repeats_each_step_from_forty_to_seventy_per_cent_three_times():
    pipe = tiny.sd()
    call = dict(num_inference_steps=10, height=32, width=32, output_type="pt", guidance_scale=3.0)
    found = load_method("freedom").run(pipe, "a cat", load_reward(tiny.brightness), generator=toys.seeds(0), **call)
    # Ten steps, three of them three times; the reward is read in four steps.
    assert found.trace.evaluations == [10 + 3 * 2] and found.trace.cost.decodes == 1 + 3 * 3
    paid = load_method("freedom").run(
        pipe, "a cat", load_reward(tiny.brightness), Budget(evaluations=13), toys.seeds(0), **call
    )
    assert 10 < paid.trace.evaluations[0] <= 13
    with pytest.raises(ConfigError, match="guidance_scale"):
        load_method("freedom").run(pipe, "a cat", load_reward(tiny.brightness), **{**call, "guidance_scale": 1.0})


def test_excitation_is_one_minus_the_smoothed_peak_of_the_worst_subject():
    side, tokens = 4, 4
    maps = torch.zeros(1, side * side, tokens)
    maps[0, :, 1] = 0.5  # token 1 everywhere but at one place, where token 2 takes over
    maps[0, 5, 1], maps[0, 5, 2] = 0.0, 0.5
    found = excitation(maps, [[(1,), (2,)]], (side, side))
    # By hand: the softmax of 100 x 0.5 is 1 there; the Gaussian's middle weight is (1 / (1 + 2 e^-2))^2.
    middle = (1 / (1 + 2 * torch.tensor(-2.0).exp())) ** 2
    torch.testing.assert_close(found, 1 - middle[None], atol=1e-5, rtol=0)
    assert excitation(maps, [[(1,)]], (side, side)).item() == pytest.approx(0.0, abs=1e-5)
    assert excitation(maps, [[]], (side, side)).item() == 0


def test_the_update_is_plain_descent_and_leaves_a_failed_sample_alone():
    z, gradient = torch.ones(2, 1, 2, 2), torch.full((2, 1, 2, 2), 0.5)
    gradient[1, 0, 0, 0] = float("nan")
    moved = descend(z, gradient, 2.0)
    assert moved[0].eq(0).all() and torch.equal(moved[1], z[1])


class Around:
    """A loop, of which a test changes some methods."""

    def __init__(self, loop):
        self.loop = loop

    def __iter__(self):
        return iter(self.loop)

    def __getattr__(self, name):
        return getattr(self.loop, name)


@pytest.mark.parametrize("name", ["sd-ddim", "sd-pag"])
def test_attend_and_excite_gives_the_neglected_subject_more_attention(name):
    """At each of the rounds of one step, on random weights; perturbed attention runs its rows together."""
    pipe, call = zoo.CASES[name].make(), {**tiny.SMALL, **zoo.CASES[name].kwargs}
    words = token_pairs(parse(tiny.PROMPT), pipe.tokenizer).words
    subjects = [[words[entity.text] for entity in parse(tiny.PROMPT).entities]]
    losses = []

    class Watched(Around):
        def predict(self, z=None, need=None):
            seen = self.loop.predict(z, need=need) if need else self.loop.predict(z)
            if need:
                losses.append(excitation(seen.maps, subjects, seen.grid).item())
            return seen

    method = load_method("attend-excite", length=1.0, until=0.25, thresholds=((0.0, 1.5),), rounds=5)
    with Run(pipe, [tiny.PROMPT], None, None, toys.seeds(0), call) as run:
        run.generate(lambda loop: method.steps(Watched(loop), subjects, lambda _: True))
    assert len(losses) == 5 and all(after < before for before, after in pairwise(losses)), losses


TWO = dict(num_inference_steps=2, output_type="pt")


def last_push(pipe, case, **given):
    """FreeDoM's in the last of two steps, which ends at the image, in ||eps_cond - eps_uncond|| of it and in the method's own length.

    With its own repetitions and budget left out, it is the only one.
    """
    moves, plain = [], FreeDoM.steps
    method = load_method("freedom", guided=(0.5, 1.0), times=1)

    class Watched(Around):
        def predict(self, *args):
            self.seen = self.loop.predict(*args)
            return self.seen

        def sampler_step(self, seen):
            self.own = self.loop.sampler_step(seen)
            return self.own

        def accept(self, z):
            now, residual = self.seen.timestep, self.seen.residual
            if now.index == 1:
                moves.append(((z - self.own).norm() / (now.there.radius * residual.norm())).item())
            self.loop.accept(z)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FreeDoM, "steps", lambda self, loop, *rest: plain(self, Watched(loop), *rest))
        method.run(pipe, case.prompt, load_reward(tiny.brightness), generator=toys.seeds(0)[0], **{**case.kwargs, **TWO, **given})
    (found,) = moves
    return found / method.length


@pytest.mark.parametrize(
    ("name", "given", "scale", "least", "also"),
    [
        ("flux-true-cfg", {"true_cfg_scale": 2.5}, 2.5, 1, " and negative_prompt="), ("z-image", {"guidance_scale": 0.5}, 1.5, 0, ""),
        ("qwen-image", {"true_cfg_scale": 3.0}, 3.0, 1, " and negative_prompt="), ("krea2", {"guidance_scale": 1.0}, 2.0, 0, ""),
    ],
)  # fmt: skip
def test_freedom_s_scale_is_that_of_the_guidance_however_it_counts(name, given, scale, least, also):
    case = flows.FAMILIES[name]
    pipe = case.make()
    assert last_push(pipe, case, **given) == pytest.approx(scale, rel=1e-3)
    none = dict.fromkeys(given, least)
    with pytest.raises(ConfigError, match=f"{next(iter(given))}={least}: .*more than {least}{also}$"):
        load_method("freedom").run(pipe, case.prompt, load_reward(tiny.brightness), **{**case.kwargs, **TWO, **none})


def test_freedom_takes_the_step_s_own_scale_of_a_schedule():
    case = flows.FAMILIES["ideogram4"]
    pipe = case.make()
    assert [last_push(pipe, case, guidance_schedule=(3.0, scale)) for scale in (2.0, 4.0)] == pytest.approx([2.0, 4.0], rel=1e-3)


def test_freedom_takes_the_scale_of_the_guider_that_guides_the_prompt():
    """HunyuanImage has one of its own for a prompt with a text in quotes."""
    case, scales = flows.FAMILIES["hunyuan-image"], []
    pipe = case.make()

    def run():
        return load_method("freedom").run(pipe, case.prompt, load_reward(tiny.brightness), generator=toys.seeds(0)[0], **case.kwargs)

    with pytest.raises(PipelineError, match="cannot be told, since its AdaptiveProjectedMixGuidance is not linear, as a ClassifierFreeGuidance is"):
        run()
    pipe.ocr_guider = ClassifierFreeGuidance(guidance_scale=5.0)
    plain = FreeDoM.steps
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FreeDoM, "steps", lambda self, loop, run, scale, rest: plain(self, loop, run, lambda: scales.append(scale()) or 5.0, rest))
        assert run().images.isfinite().all() and set(scales) == {5.0}
    pipe.ocr_guider = ClassifierFreeGuidance(guidance_scale=1.0)
    with pytest.raises(ConfigError, match="HunyuanImagePipeline has no guider that guides this call"):
        run()


def test_attend_and_excite_looks_and_moves_in_the_first_half_and_keeps_its_account():
    pipe = tiny.sd()
    # Thresholds that cannot be reached: every round is taken.
    prompts = ["a red apple and a green car", "red"]

    def read(prompt):
        return parse(prompt) if prompt == prompts[0] else SemanticGraph(prompt, ())

    method = load_method("attend-excite", length=5.0, thresholds=((0.0, 1.5),), rounds=3, parser=read)
    call = dict(tiny.SMALL, height=64, width=64)
    found = method.run(pipe, prompts, None, generator=toys.seeds(0, 1), **call)
    plain = pipe(prompts, generator=toys.seeds(0, 1), **call).images
    # Steps 0 and 1 of 4: three rounds and one, of the conditional half alone.
    assert found.trace.evaluations == [4 + 3 + 1] * 2
    assert found.trace.cost.denoiser_rows == 4 * 4 + 4 * 2
    assert not torch.allclose(found.images[0], plain[0], atol=1e-4)
    torch.testing.assert_close(found.images[1], plain[1], atol=1e-5, rtol=1e-4)  # nothing to excite
    held = method.run(pipe, prompts, None, Budget(evaluations=6), toys.seeds(0, 1), **call)
    assert held.trace.evaluations == [6, 6]
    one = method.run(pipe, prompts[0], None, generator=toys.seeds(0), **call).images
    torch.testing.assert_close(found.images[0], one[0], atol=1e-4, rtol=1e-3)
