"""What holds for every method: the pipeline comes back as it was, settings are checked, errors leave nothing open."""

import flows
import pytest
import relatives
import tiny
import torch
import toys
import zoo
from diffusers import AutoencoderTiny, StableDiffusionPipeline

from dymo import Budget, ConfigError, DyMO, PipelineError, PromptError, RewardError
from dymo.guidance.loop import Need
from dymo.methods import METHODS, load_method
from dymo.methods.run import Run
from dymo.methods.unguided import unguided
from dymo.pipelines.families import family_of
from dymo.pipelines.hold import held
from dymo.pixels import to_pil
from dymo.rewards import load_reward

FEW = {
    "best-of-n": {"n": 2}, "dno": {"iterations": 1}, "reno": {"iterations": 1}, "embedding": {"iterations": 1},
    "rewrite": {"rewriter": lambda prompt: [f"{prompt}, sharp"]}, "fk-steering": {"k": 2}, "freedom": {"times": 2},
    "attend-excite": {"rounds": 2}, "dymo": {"preset": "fast", "settings": {"scouts": 1}},
}  # fmt: skip
CALL = dict(num_inference_steps=3, height=32, width=32, output_type="pt", guidance_scale=2.0)


def state(pipe):
    """What a method could leave behind: attributes of the instances, hooks, flags, the scheduler's settings."""
    modules = [m for c in (pipe.unet, pipe.vae, pipe.text_encoder) for m in c.modules()]
    return (
        set(vars(pipe)), set(vars(pipe.unet)), set(vars(pipe.scheduler)), pipe.scheduler.order,
        [len(m._forward_hooks) for m in modules], [p.requires_grad for c in (pipe.unet, pipe.vae) for p in c.parameters()],
        pipe.unet.is_gradient_checkpointing, pipe.vae.is_gradient_checkpointing,
    )  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_the_pipeline_is_as_before_also_after_an_exception_and_what_changes_nothing_changes_nothing(name):
    """The generator alone decides: the reward may be a function, and a tuple, or a callback that looks on, may be asked for."""
    pipe, method, reward = tiny.sd(), load_method(name, **FEW.get(name, {})), load_reward(tiny.brightness)
    pipe("a cat", generator=toys.seeds(0), **CALL)  # what a first call of its own leaves is not ours
    before, plain = state(pipe), pipe("a cat", generator=toys.seeds(0), **CALL).images
    first, second = torch.Generator().manual_seed(7), torch.Generator().manual_seed(7)
    found = method.run(pipe, tiny.PROMPT, reward, generator=first, **CALL)
    assert found.images.shape == (1, 3, 32, 32) and 0 <= found.images.min() and found.images.max() <= 1
    assert found.trace.cost.seconds > 0 and found.trace.evaluations[0] >= 3
    assert state(pipe) == before
    call = {**CALL, "return_dict": False, "callback_on_step_end": lambda pipe, step, timestep, kept: kept}
    again = method.run(pipe, tiny.PROMPT, tiny.brightness, generator=second, **call)
    assert torch.equal(again.images, found.images) and torch.equal(first.get_state(), second.get_state())
    negative = method.run(pipe, tiny.PROMPT, reward, generator=first.manual_seed(7), negative_prompt="a blue fish", **CALL)
    assert not torch.equal(negative.images, found.images)

    def breaks(*_):
        raise KeyboardInterrupt

    call = {**CALL, "callback_on_step_end": breaks}
    with pytest.raises(KeyboardInterrupt):
        method.run(pipe, tiny.PROMPT, reward, generator=toys.seeds(0), **call)
    assert state(pipe) == before
    with held(pipe, (pipe.unet, pipe.scheduler)):
        pass  # nobody has them any more
    assert torch.equal(pipe("a cat", generator=toys.seeds(0), **CALL).images, plain)


def test_dymo_is_the_library_itself():
    pipe, reward = tiny.sd(), load_reward(tiny.brightness)
    direct = DyMO(reward, preset="fast", eta=0.2)(pipe, tiny.PROMPT, generator=toys.seeds(0), budget=Budget(seconds=600), **CALL)
    found = load_method("dymo", preset="fast", settings={"eta": 0.2}).run(
        pipe, tiny.PROMPT, reward, Budget(seconds=600), toys.seeds(0), **CALL
    )
    assert torch.equal(found.images, direct.images) and found.trace.evaluations == direct.trace.evaluations


def test_a_reward_by_name_and_what_is_no_budget():
    with pytest.raises(RewardError, match="unknown reward 'pickscor' .did you mean 'pickscore'"):
        load_method("reno").run(tiny.sd(), "a cat", "pickscor", **CALL)
    with pytest.raises(ConfigError, match=r"budget=3: give Budget\(evaluations=100\)"):
        load_method("reno").run(tiny.sd(), "a cat", tiny.brightness, 3, **CALL)


def test_an_algorithm_pulls_once_by_default_and_is_told_what_a_need_is():
    def pulls(loop):
        for _ in loop:
            seen = loop.predict()
            assert seen.pull(seen.z0.flatten(1).sum(1)).shape == seen.z.shape
            loop.accept(loop.sampler_step(seen))

    with Run(tiny.sd(), "a cat", None, None, toys.seeds(0), CALL) as run:
        run.generate(pulls)
        with pytest.raises(PipelineError, match="the algorithm has left the loop before its end"):
            run.generate(lambda loop: loop.predict())
        with pytest.raises(PipelineError, match=r"step 0 was not left.*loop.accept\(z\)"):
            run.generate(lambda loop: [loop.predict() for _ in loop])
    with pytest.raises(ConfigError, match=r"need='full': give dymo.guidance.loop.Need"), Run(tiny.sd(), "a cat", None, None, None, CALL) as run:
        run.generate(lambda loop: loop.predict(need="full"))
    with pytest.raises(ConfigError, match=r"Need\(through='straight-through'\): choose one of 'none', 'maps', 'conditional', 'full'"):
        Need(through="straight-through")


def test_wrong_names_settings_and_prompts_are_refused_by_name():
    with pytest.raises(ConfigError, match="did you mean 'reno'"):
        load_method("renoo")
    with pytest.raises(ConfigError, match=r"no setting 'rate'.*lr"):
        load_method("reno", rate=3)
    with pytest.raises(ConfigError, match=r"no setting 'eta': it has preset.*; a value of the method's goes into settings, as {'eta': 0.2}"):
        load_method("dymo", eta=0.2)
    with pytest.raises(ConfigError, match=r"'mine.py' names a file and nothing in it: give mine.py:NAME"):
        load_method("mine.py")
    with pytest.raises(RewardError, match=r"'mine.py' names a file and nothing in it: give mine.py:NAME"):
        load_reward("mine.py")
    with pytest.raises(PromptError, match="empty"):
        load_method("plain").run(tiny.sd(), ["a cat", " "])
    with pytest.raises(ConfigError, match="output_type='latent'"):
        load_method("plain").run(tiny.sd(), "a cat", **{**CALL, "output_type": "latent"})


@pytest.mark.parametrize("name", ["reno", "dno", "embedding"])
def test_the_way_back_passes_a_callback(name):
    def doubles(pipe, step, timestep, found):
        assert not found["latents"].requires_grad
        return {"latents": 2 * found["latents"]}

    call = {**CALL, "callback_on_step_end": doubles}
    found = load_method(name, **FEW[name]).run(tiny.sd(), tiny.PROMPT, load_reward(tiny.brightness), generator=toys.seeds(0), **call)
    assert found.images.isfinite().all()


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("plain", "best-of-n", "rewrite")])
def test_a_method_that_follows_a_loop_reads_what_a_class_hands_on_to_it(name):
    calls = []

    class Preset(StableDiffusionPipeline):
        def __call__(self, prompt, **more):
            calls.append(prompt)
            found = super().__call__(f"{prompt} and a red car", guidance_scale=2.0, **more | {"generator": toys.seeds(0)})
            return (1 - found.images,)

    method, reward = load_method(name, **FEW.get(name, {})), load_reward(tiny.brightness)
    call = {key: value for key, value in CALL.items() if key != "guidance_scale"}
    found = method.run(tiny.sd(Preset), tiny.PROMPT, reward, generator=toys.seeds(7), **call)
    wanted = method.run(tiny.sd(), f"{tiny.PROMPT} and a red car", reward, generator=toys.seeds(0), **CALL)
    assert torch.equal(found.images, 1 - wanted.images) and calls == [tiny.PROMPT]
    assert found.trace.evaluations == wanted.trace.evaluations


def test_an_algorithm_alone_is_refused_on_a_class_that_hands_on():
    class Preset(StableDiffusionPipeline):
        def __call__(self, *given, **more):
            return super().__call__(*given, **more)

    with pytest.raises(PipelineError, match=r"Preset.__call__ hands on to StableDiffusionPipeline.__call__.*use that class.*follows_loop"):
        with Run(tiny.sd(Preset), "a cat", None, None, toys.seeds(0), CALL) as run:
            run.generate(unguided)


CONDITIONAL = {"settings": {"gradient": "conditional", "borders": (1000, 1000)}}
OTHER_VAE = AutoencoderTiny(latent_channels=8, decoder_block_out_channels=(8, 8), num_decoder_blocks=(1, 1))
IMAGES = torch.cat([zoo.IMAGE, zoo.CONTROL])


@pytest.mark.parametrize(
    ("name", "settings", "case", "given", "said"),
    [
        ("plain", {}, zoo.CASES["sd-ddim"], {"output_type": "latent"}, "output_type='latent': methods give"),
        ("fk-steering", {"preview_vae": OTHER_VAE}, zoo.CASES["sd-ddim"], {}, "latents of 8 channels.*decoder made for its model"),
        ("fk-steering", {}, zoo.CASES["sd-img2img"], {"image": IMAGES, "prompt": ["a cat"] * 2}, "image=: .*Img2ImgPipeline would paint"),
        ("reno", {}, zoo.CASES["sd-img2img"], {}, "this run begins at a picture, in the midst of the schedule"),
        ("freedom", {"preview_vae": 3}, zoo.CASES["sd-ddim"], {}, "3 decodes no predictions: give an AutoencoderTiny"),
        ("freedom", {}, zoo.CASES["sd-img2img"], {"num_inference_steps": 4, "strength": 0.25}, r"guided=\(0.3, 0.7\): no step.*but at 0.75"),
        ("freedom", {}, flows.FAMILIES["flux2-dev"], {}, "whose scale Flux2Pipeline gives to its denoiser"),
        ("freedom", {}, flows.FAMILIES["lumina-next"], {}, "LuminaPipeline guides three channels of four"),
        ("freedom", {}, flows.FAMILIES["lumina2"], {"cfg_trunc_ratio": 0.5}, "cfg_trunc_ratio=0.5 leaves steps without guidance.*=0.7 or more"),
        ("dymo", CONDITIONAL, flows.FAMILIES["lumina-next"], {}, "gradient='conditional' cannot tell.*guides three channels of four"),
        ("dymo", CONDITIONAL, flows.FAMILIES["lumina2"], {"cfg_trunc_ratio": 0.5}, "cfg_trunc_ratio leaves steps without guidance"),
        ("dno", {}, flows.FAMILIES["sd3"], {}, "takes a flow's, which have none: take reno"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_denoiser_runs(name, settings, case, given, said):
    pipe, calls = case.make(), []
    family_of(pipe).denoiser(pipe).register_forward_pre_hook(lambda *_: calls.append(1))
    with pytest.raises((ConfigError, PipelineError), match=said):
        call = {**case.kwargs, "prompt": case.prompt, **given}
        load_method(name, **settings).run(pipe, call.pop("prompt"), tiny.brightness, generator=toys.seeds(0)[0], **call)
    assert not calls


@pytest.mark.parametrize("mask", [flows.MASK, to_pil(flows.MASK.expand(-1, 3, -1, -1))[0]], ids=["tensor", "picture"])
def test_particles_have_a_mask_each_where_the_pipeline_wants_one_an_image(mask):
    """The first of them begins as the pipeline's own image."""
    case = relatives.CASES["ZImageControlNetInpaintPipeline"]
    pipe, seen, first = case.make(), [], []
    pipe.transformer.register_forward_pre_hook(lambda module, args: seen.append(args[0][0]))
    for name, settings in (("plain", {}), ("fk-steering", {"k": 2, "resamplings": 0})):
        method = load_method(name, **settings)
        found = method.run(pipe, case.prompt, tiny.brightness, generator=toys.seeds(0), **{**case.kwargs, "mask_image": mask})
        first.append(seen[0])
        seen.clear()
        assert found.images.isfinite().all()
    assert torch.equal(*first)


@pytest.mark.filterwarnings("ignore:The decode_latents method is deprecated:FutureWarning")  # diffusers' own
@pytest.mark.parametrize(("name", "settings", "eta"), [("plain", {}, 0.0), ("fk-steering", {"k": 1}, 1.0)])
def test_a_pipeline_that_gives_arrays_whatever_is_asked_for_is_taken_too(name, settings, eta):
    case = zoo.CASES["sd-adapter"]
    call = {**case.kwargs, "output_type": "np", "generator": torch.Generator().manual_seed(0)}
    found = load_method(name, **settings).run(case.make(), case.prompt, tiny.brightness, **call)
    call["generator"].manual_seed(0)
    wanted = case.make()(case.prompt, **call, eta=eta).images
    assert found.images.shape == wanted.shape and abs(found.images - wanted).max() < 1e-5


def test_settings_of_freedom_that_name_no_step_are_refused():
    with pytest.raises(ConfigError, match=r"guided=\(0.7, 0.3\): give two fractions"):
        load_method("freedom", guided=(0.7, 0.3))
    with pytest.raises(ConfigError, match="times=0: give a whole number from 1 on"):
        load_method("freedom", times=0)


def test_the_particles_of_an_image_begin_at_its_own_latents():
    latents, method = torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(5)), load_method("fk-steering", k=2, resamplings=0)
    pipe, seen = tiny.sd(), []
    pipe.unet.register_forward_pre_hook(lambda module, args: seen.append(args[0].chunk(2)[1]) if not seen else None)
    method.run(pipe, [tiny.PROMPT, "a cat"], load_reward(tiny.brightness), generator=torch.Generator().manual_seed(0), latents=latents, **CALL)
    assert torch.equal(seen[0], latents.repeat_interleave(2, 0))


def test_what_a_method_would_drop_is_refused():
    pipe, reward = tiny.sd(), load_reward(tiny.brightness)
    latents = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(5))
    with pytest.raises(ConfigError, match="all seeds would be one image"):
        load_method("best-of-n", n=2).run(pipe, tiny.PROMPT, reward, latents=latents, **CALL)
    assert load_method("best-of-n", n=2).run(pipe, tiny.PROMPT, reward, latents=latents, eta=1.0, **CALL).trace.evaluations == [6]
    with pytest.raises(ConfigError, match="prompt_embeds="):
        load_method("rewrite", **FEW["rewrite"]).run(pipe, tiny.PROMPT, reward, prompt_embeds=torch.zeros(1, 48, 32), **CALL)
