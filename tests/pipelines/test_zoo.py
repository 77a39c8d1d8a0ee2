"""The zoo's pipelines are what they claim to be: they run, and the UNet is given what each case says."""

from __future__ import annotations

import functools
import inspect
import re
from pathlib import Path

import pytest
import relatives
import torch
import zoo
from diffusers.hooks import HookRegistry

from dymo.pipelines.families.refused import REFUSED

ALL = {**zoo.CASES, **zoo.OPEN}


@pytest.fixture(autouse=True, scope="module")
def threads():
    torch.set_num_threads(1)


@functools.cache
def plain(name: str):
    """A case's pipeline, the images of its plain call, and the text embeddings of each call of the UNet since (rows x samples, tokens,
    channels)."""
    before = torch.get_rng_state()
    pipe = ALL[name].make()
    assert torch.equal(torch.get_rng_state(), before), "the builder drew from the caller's generator"
    seen: list[torch.Tensor] = []
    pipe.unet.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["encoder_hidden_states"].detach()), with_kwargs=True
    )
    images = ALL[name].run(pipe)
    return pipe, images, tuple(seen), seen


def nothing(pipe) -> torch.Tensor:
    """The embeddings of the empty prompt: (tokens, channels)."""
    if pipe.config.get("force_zeros_for_empty_prompt"):
        return torch.zeros(1)
    if "kolors" in type(pipe).__module__:
        return pipe.encode_prompt("", do_classifier_free_guidance=False)[0][0]
    ids = pipe.tokenizer(
        "", padding="max_length", max_length=pipe.tokenizer.model_max_length, return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        return pipe.text_encoder(ids)[0][0]


@pytest.mark.parametrize("name", ALL)
def test_a_plain_call_has_the_rows_that_the_case_names(name):
    case, (pipe, images, seen, _) = ALL[name], plain(name)
    assert type(pipe).__name__ in page_on_models()[0]
    assert "for i, t in enumerate(timesteps):" in inspect.getsource(type(pipe).__call__.__wrapped__)
    assert len(images) == case.samples and images.isfinite().all() and images.std() > 0.01
    assert len(seen) == case.calls

    empty = nothing(pipe)
    for embeddings in seen:
        rows = embeddings.unflatten(0, (len(case.rows), case.samples))
        for row, of in zip(rows, case.rows, strict=True):
            assert all(
                torch.allclose(one, empty.expand_as(one), atol=1e-6) == (of in ("uncond", "image")) for one in row
            )
        told = [row for row, of in zip(rows, case.rows, strict=True) if of in ("cond", "perturbed")]
        assert all(torch.equal(row, told[0]) for row in told)

    if case.samples > 1:
        assert not torch.allclose(images[0], images[1])


@pytest.mark.parametrize("name", zoo.FLOW)
def test_a_flow_pipeline_has_the_rows_that_the_case_names(name):
    case = zoo.FLOW[name]
    pipe = case.make()
    seen = []
    pipe.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["hidden_states"])), with_kwargs=True
    )
    images = case.run(pipe)
    assert images.isfinite().all() and images.std() > 0.01
    assert seen == [len(case.rows) * case.samples] * case.calls
    assert "for i, t in enumerate(timesteps):" in inspect.getsource(type(pipe).__call__.__wrapped__)


@functools.cache
def page_on_models() -> tuple[set[str], set[str]]:
    """The UNets' pipelines that docs/models.md names as run in the tests, and those that it names as refused."""
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    steered, refused = page.split("## UNets")[1].split("## Samplers")[0].split("Refused, with the reason:")
    return set(re.findall(r"`(\w+Pipeline)`", steered)), set(re.findall(r"`(\w+Pipeline\w*)`", refused))


def test_the_page_on_models_names_no_more_than_what_is_run_and_what_is_refused():
    """What each case runs, and what is refused, is on the page: the cases look for themselves."""
    steered, refused = page_on_models()
    assert steered <= {*vars(zoo), *vars(zoo.tiny), *relatives.UNETS}, "what these import, cases are made of"
    assert set(relatives.UNETS) <= steered and not steered & refused
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in REFUSED)


def test_the_page_on_models_names_the_transformers_relatives():
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    besides = page.split("Run in the tests besides")[1].split("Refused, with the reason:")[0]
    assert set(re.findall(r"`(\w+Pipeline)`", besides)) == {name.split()[0] for name in relatives.TRANSFORMERS}


def test_the_same_weights_each_time():
    first, second = (zoo.CASES["sd-controlnet-two"].make() for _ in range(2))
    for part in ("unet", "vae", "text_encoder", "controlnet"):
        pairs = zip(getattr(first, part).parameters(), getattr(second, part).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", [name for name, case in ALL.items() if case.cutoff])
def test_the_cutoff_ends_guidance(name):
    case, (pipe, _, _, seen) = ALL[name], plain(name)
    end = case.cutoff(cutoff_step_ratio=None, cutoff_step_index=0)
    start = len(seen)
    case.run(pipe, callback_on_step_end=end, callback_on_step_end_tensor_inputs=["latents", *end.tensor_inputs])
    assert [len(embeddings) for embeddings in seen[start:]] == [2] + [1] * (case.calls - 1)


# A case, and the change of its call (or of its pipeline) that takes away what it is there for.
HEARD = {
    "sd-eta": dict(eta=0.0),
    "sd-guidance-rescale": dict(guidance_rescale=0.0),
    "sd-clip-skip": dict(clip_skip=None),
    "sd-controlnet": dict(control_guidance_end=1.0),
    "sd-controlnet-guess": dict(guess_mode=False),
    "sd-controlnet-two": dict(controlnet_conditioning_scale=[0.7, 0.0]),
    "sd-inpaint": dict(mask_image=torch.ones_like(zoo.MASK)),
    "sd-pag": dict(pag_scale=1.0),
    "sd-pix2pix": dict(image_guidance_scale=1.0),
    "sd-guidance-embedding": dict(guidance_scale=3.0),
    "sd-adapter": dict(adapter_conditioning_scale=0.0),
    "sdxl-adapter-half": dict(adapter_conditioning_factor=1.0),
    "sdxl-controlnet": dict(controlnet_conditioning_scale=0.0),
    "sd-ip-adapter": lambda pipe: pipe.set_ip_adapter_scale(0.0),
    "sdxl-ip-adapter": lambda pipe: pipe.set_ip_adapter_scale(0.0),
    "sd-lora": lambda pipe: pipe.unet.disable_adapters(),
    "sd-clip-sample": lambda pipe: setattr(pipe, "scheduler", zoo.tiny.scheduler()),
    "sd-zero-snr": lambda pipe: setattr(pipe, "scheduler", zoo.tiny.scheduler(prediction_type="v_prediction")),
}


@pytest.mark.parametrize("name", HEARD)
def test_what_a_case_is_there_for_changes_its_images(name):
    case, off, (pipe, images, _, _) = ALL[name], HEARD[name], plain(name)
    if callable(off):
        pipe = case.make()  # the other tests' pipeline stays as it is
        off(pipe)
        off = {}
    assert not torch.allclose(case.run(pipe, **off), images, atol=1e-4)


def test_p5_a_placeholder_of_several_vectors_is_several_tokens():
    case = zoo.CASES["sd-textual-inversion"]
    pipe = case.make()
    converted = pipe.maybe_convert_prompt(case.prompt, pipe.tokenizer)
    added = [token for token in pipe.tokenizer.tokenize(converted) if "<toy>" in token]
    assert added == ["<toy>", "<toy>_1", "<toy>_2"] and pipe.tokenizer.tokenize(case.prompt).count("<toy>") == 1
    assert "<toy>" not in zoo.tiny.tokenizer().get_vocab(), "the shared tokenizer was changed"


def blocks(pipe):
    return [module for module in pipe.unet.modules() if type(module).__name__ == "BasicTransformerBlock"]


# What makes each of them impossible to steer, as a check of the pipeline.
FACTS = {
    "animatediff": lambda pipe: type(pipe.unet).__name__ == "UNetMotionModel",
    "latent-upscale": lambda pipe: pipe.unet.config.mid_block_type is None and not blocks(pipe),
    "video-diffusion": lambda pipe: (
        type(pipe.unet).__name__ == "UNetSpatioTemporalConditionModel" and not hasattr(pipe, "tokenizer")
    ),
    "text-to-video": lambda pipe: type(pipe.unet).__name__ == "UNet3DConditionModel",
    "panorama": lambda pipe: hasattr(pipe, "get_views"),
    "attend-and-excite": lambda pipe: hasattr(pipe, "_perform_iterative_refinement_step"),
    "self-attention-guidance": lambda pipe: hasattr(pipe, "sag_masking"),
    "ldm3d": lambda pipe: pipe.vae.config.out_channels == 6,
    "layerwise-casting": lambda pipe: any(weight.dtype == torch.float8_e4m3fn for weight in pipe.unet.parameters()),
    "compile-repeated-blocks": lambda pipe: all(block._compiled_call_impl for block in blocks(pipe)),
    "compiled": lambda pipe: hasattr(pipe.unet, "_orig_mod"),
    "compiled-in-place": lambda pipe: pipe.unet._compiled_call_impl is not None,
    "peft-model": lambda pipe: hasattr(pipe.unet, "get_base_model"),
    "inference-tensors": lambda pipe: all(weight.is_inference() for weight in pipe.unet.parameters()),
    "fused-projections": lambda pipe: any(
        getattr(module, "fused_projections", False) for module in pipe.unet.modules()
    ),
    "cache-hooks": lambda pipe: any(
        isinstance(getattr(m, "_diffusers_hook", None), HookRegistry) for m in pipe.unet.modules()
    ),
    "unconditional": lambda pipe: not hasattr(pipe, "vae") and not hasattr(pipe, "tokenizer"),
}


@pytest.mark.parametrize("name", zoo.REFUSED)
def test_what_is_refused_is_what_it_is_called(name):
    before = torch.get_rng_state()
    pipe = zoo.REFUSED[name]()
    assert torch.equal(torch.get_rng_state(), before)
    assert type(pipe).__name__ in set.union(*page_on_models())
    assert FACTS[name](pipe)
    assert not FACTS[name](plain("sd-ddim")[0])


@pytest.mark.parametrize("name", ["layerwise-casting", "inference-tensors"])
def test_p11_no_gradient_passes_through_it(name):
    pipe = zoo.REFUSED[name]()
    latents = torch.randn(1, 4, 16, 16, requires_grad=True)
    with pytest.raises(RuntimeError):
        pipe.unet(latents, 500, encoder_hidden_states=torch.randn(1, 8, 32)).sample.sum().backward()
