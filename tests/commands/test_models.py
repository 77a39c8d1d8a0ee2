"""What is loaded: LoRAs with their strength, checkpoints in one file; and what is told at once where it cannot be."""

from __future__ import annotations

import re
import time

import pytest
import tiny
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModelWithProjection

from dymo.commands import models, sources
from dymo.commands.sources import check_lora, check_model, check_source, family_of
from dymo.errors import ConfigError, PipelineError

PROMPT = "a red apple"


def image(pipe, **more):
    return pipe(PROMPT, generator=torch.Generator().manual_seed(0), **tiny.SMALL, **more).images


def lora_file(path, seed=0, scale=1.0):
    """A LoRA on the tiny UNet's attention, as diffusers writes it."""
    unet = tiny.unet()
    torch.manual_seed(seed)
    weights = {}
    for name, module in unet.named_modules():
        if name.endswith(("attn2.to_q", "attn2.to_v")):
            weights[f"unet.{name}.lora_A.weight"] = torch.randn(2, module.in_features)
            weights[f"unet.{name}.lora_B.weight"] = scale * torch.randn(module.out_features, 2)
    save_file(weights, path)
    return path


# LoRAs


def test_c1_several_loras_each_with_its_strength(tmp_path):
    one, other = lora_file(tmp_path / "one.safetensors"), lora_file(tmp_path / "other.safetensors", 1)
    plain = image(tiny.sd())

    def with_loras(*loras):
        pipe = tiny.sd()
        models.load_loras(pipe, [(str(path), strength) for path, strength in loras])
        return image(pipe)

    half = lora_file(tmp_path / "half.safetensors", scale=0.5)
    assert not torch.allclose(with_loras((one, 1.0)), plain, atol=1e-3)
    torch.testing.assert_close(with_loras((one, 0.0)), plain)
    torch.testing.assert_close(with_loras((one, 0.5)), with_loras((half, 1.0)))
    both = with_loras((one, 0.5), (other, 2.0))
    torch.testing.assert_close(both, with_loras((other, 2.0), (half, 1.0)))
    assert not torch.allclose(both, with_loras((one, 0.5)), atol=1e-3)


def test_c1_a_wrong_lora_is_one_line(tmp_path):
    stray = {f"unet.nothing.lora_{side}.weight": torch.zeros(2, 2) for side in "AB"}
    save_file(stray, tmp_path / "a.safetensors")
    fitting = load_file(lora_file(tmp_path / "b.safetensors"))
    wide = {name: value.repeat(1, 3) if "lora_A" in name else value for name, value in fitting.items()}
    save_file(wide, tmp_path / "b.safetensors")
    for name in ("a", "b"):
        with pytest.raises(PipelineError) as raised:
            models.load_loras(tiny.sd(), [(str(tmp_path / f"{name}.safetensors"), 1.0)])
        assert f"--lora {tmp_path / name}.safetensors: " in str(raised.value) and "\n" not in str(raised.value)
    for file, content, said in (
        ("c.safetensors", b"<html>", "cannot be read as safetensors"),
        ("d.bin", b"", "only .safetensors files are read"),
    ):
        (tmp_path / file).write_bytes(content)
        with pytest.raises(ConfigError, match=said):
            check_lora(str(tmp_path / file))
    save_file({"model.diffusion_model.x": torch.zeros(1)}, tmp_path / "e.safetensors")
    with pytest.raises(ConfigError, match="no LoRA weights in this file; is it a checkpoint for --model"):
        check_lora(str(tmp_path / "e.safetensors"))


# Checkpoints in one file, in the layout that SD1.5's and SDXL's authors published

_RESNET = (
    ("norm1.", "in_layers.0."), ("conv1.", "in_layers.2."), ("time_emb_proj.", "emb_layers.1."),
    ("norm2.", "out_layers.0."), ("conv2.", "out_layers.3."), ("conv_shortcut.", "skip_connection."),
)  # fmt: skip
_OUTSIDE = {
    "time_embedding.linear_1.": "time_embed.0.", "time_embedding.linear_2.": "time_embed.2.", "conv_in.": "input_blocks.0.0.",
    "conv_norm_out.": "out.0.", "conv_out.": "out.2.", "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
}  # fmt: skip


def ldm_unet(unet):
    """The UNet's weights by the names of the latent-diffusion code, from the numbering of its blocks."""
    per = unet.config.layers_per_block + 1
    found = {}
    for name, value in unet.state_dict().items():
        place = re.match(
            r"(down|up|mid)_blocks?\.(?:(\d+)\.)?(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", name
        )
        if place is None:
            start = next(key for key in _OUTSIDE if name.startswith(key))
            found[_OUTSIDE[start] + name.removeprefix(start)] = value
            continue
        side, block, kind, n, rest = place[1], int(place[2] or 0), place[3], int(place[4]), place[5]
        if kind == "resnets":
            for new, old in _RESNET:
                rest = old + rest.removeprefix(new) if rest.startswith(new) else rest
        if side == "mid":
            where = f"middle_block.{2 * n if kind == 'resnets' else 2 * n + 1}."
        elif kind == "downsamplers":
            where, rest = f"input_blocks.{1 + block * per + per - 1}.0.", rest.replace("conv.", "op.")
        elif kind == "upsamplers":
            has_attention = any(key.startswith(f"up_blocks.{block}.attentions") for key in unet.state_dict())
            where = f"output_blocks.{block * per + per - 1}.{2 if has_attention else 1}."
        else:
            first = 1 if side == "down" else 0
            where = (
                f"{'input' if side == 'down' else 'output'}_blocks.{first + block * per + n}.{kind == 'attentions':d}."
            )
        found[where + rest] = value
    return {f"model.diffusion_model.{name}": value for name, value in found.items()}


def ldm_vae(vae):
    """The VAE's weights by the names of the latent-diffusion code; attention as 1x1 convolutions."""
    top = len(vae.config.up_block_types) - 1
    found = {}
    for name, value in vae.state_dict().items():
        name = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", name)
        name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
        name = re.sub(r"up_blocks\.(\d+)\.resnets\.(\d+)", lambda m: f"up.{top - int(m[1])}.block.{m[2]}", name)
        name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{top - int(m[1])}.upsample", name)
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        name = name.replace("mid_block.attentions.0", "mid.attn_1").replace("conv_shortcut", "nin_shortcut")
        name = name.replace("conv_norm_out", "norm_out")
        if "attn_1" in name:
            for new, old in (
                ("group_norm", "norm"),
                ("to_q", "q"),
                ("to_k", "k"),
                ("to_v", "v"),
                ("to_out.0", "proj_out"),
            ):
                name = name.replace(f".{new}.", f".{old}.")
            value = value[:, :, None, None] if value.ndim == 2 else value
        found[f"first_stage_model.{name}"] = value
    return found


def saved(pipe, folder):
    """The folder of the configuration, without the weights."""
    pipe.save_pretrained(folder)
    for file in folder.rglob("*.safetensors"):
        file.unlink()
    return folder


def test_c1_a_checkpoint_of_sd15_in_one_file(tmp_path):
    pipe = tiny.sd()
    config = saved(pipe, tmp_path / "config")
    text = {f"cond_stage_model.transformer.{name}": value for name, value in clip_names(pipe.text_encoder).items()}
    file = tmp_path / "checkpoint.safetensors"
    save_file({**ldm_unet(pipe.unet), **ldm_vae(pipe.vae), **text}, file)
    assert family_of(str(file))[0] == "StableDiffusionPipeline"
    check_model(str(file), str(config))
    loaded = models.load_pipeline(str(file), config=str(config))
    same_weights(loaded, pipe, ("unet", "vae", "text_encoder"))
    torch.testing.assert_close(image(loaded), image(pipe))


def test_c1_a_checkpoint_of_sdxl_in_one_file(tmp_path):
    pipe = tiny.sdxl()
    # As in SDXL, the second encoder is the wider one: by its width the loader tells them apart.
    torch.manual_seed(1)
    pipe.text_encoder_2 = tiny.text_model(CLIPTextModelWithProjection, 48)
    pipe.unet = tiny.unet(
        cross_attention_dim=80, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=96, transformer_layers_per_block=(1, 1, 1),
    )  # fmt: skip
    config = saved(pipe, tmp_path / "config")
    text = {f"conditioner.embedders.0.transformer.{name}": v for name, v in clip_names(pipe.text_encoder).items()}
    text |= {f"conditioner.embedders.1.model.{name}": v for name, v in open_clip(pipe.text_encoder_2).items()}
    file = tmp_path / "checkpoint.safetensors"
    save_file({name: v.contiguous() for name, v in {**ldm_unet(pipe.unet), **ldm_vae(pipe.vae), **text}.items()}, file)
    assert family_of(str(file)) == ("StableDiffusionXLPipeline", "stabilityai/stable-diffusion-xl-base-1.0")
    loaded = models.load_pipeline(str(file), config=str(config))
    same_weights(loaded, pipe, ("unet", "vae", "text_encoder", "text_encoder_2"))


def same_weights(loaded, pipe, parts):
    for part in parts:
        expected = getattr(pipe, part).state_dict()
        for name, value in getattr(loaded, part).state_dict().items():
            torch.testing.assert_close(value, expected[name], msg=f"{part}: {name}")


def clip_names(model):
    start = "" if hasattr(model, "text_model") else "text_model."
    return {start + name: value for name, value in model.state_dict().items()}


def open_clip(model):
    """A text tower's weights by the names of open_clip: q, k and v in one matrix."""
    found = {}
    for name, value in model.state_dict().items():
        name = name.removeprefix("text_model.").replace("encoder.layers.", "transformer.resblocks.")
        for new, old in (
            ("layer_norm", "ln_"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"), ("self_attn", "attn"),
            ("embeddings.token_embedding", "token_embedding"), ("final_ln_", "ln_final"),
            ("embeddings.position_embedding.weight", "positional_embedding"), ("final_layer_norm", "ln_final"),
        ):  # fmt: skip
            name = name.replace(new, old)
        found[name] = value
    for name in [name for name in found if ".q_proj." in name]:
        rows = [found.pop(name.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
        found[name.replace(".q_proj.", ".in_proj_")] = torch.cat(rows)
    found["text_projection"] = found.pop("text_projection.weight").T
    return found


def test_c1_what_a_checkpoint_is_not(tmp_path):
    for keys, said in (
        (["unet.down.lora_A.weight"], "these are LoRA weights; give them with --lora"),
        (["model.diffusion_model.x"], "not a checkpoint of SD1.5, SD2 or SDXL with its text encoders"),
    ):
        save_file({key: torch.zeros(1) for key in keys}, tmp_path / "x.safetensors")
        with pytest.raises(ConfigError, match=said):
            check_model(str(tmp_path / "x.safetensors"), None)
    (tmp_path / "y.ckpt").touch()
    with pytest.raises(ConfigError, match="only .safetensors checkpoints are read, a .ckpt file can run code"):
        check_model(str(tmp_path / "y.ckpt"), None)
    save_file({"conditioner.embedders.1.x": torch.zeros(1)}, tmp_path / "z.safetensors")
    with pytest.raises(ConfigError, match="a StableDiffusionXLPipeline are not in the file.*add --config FOLDER"):
        check_model(str(tmp_path / "z.safetensors"), None)
    with pytest.raises(ConfigError, match="--config .* belongs to a .safetensors checkpoint"):
        check_model(str(tmp_path), str(tmp_path))


# The hub


@pytest.mark.parametrize(
    "value, said",
    [
        ("./nothing", "there is no such file or folder"),
        ("sd15", "there is no such file or folder, and a hub id has the form OWNER/NAME"),
        ("a/b/c", "there is no such file or folder"),
        ("owner/file.safetensors", "there is no such file or folder"),
        ("runwayml/stable-diffusion-v1-5", "its new id is stable-diffusion-v1-5/stable-diffusion-v1-5"),
        (
            "owner/name",
            "the hub is not asked (HF_HUB_OFFLINE is set; unset it to download); name a local folder of the",
        ),
    ],
)
def test_c3_what_cannot_be_loaded_is_told_at_once(value, said):
    with pytest.raises(ConfigError) as raised:
        check_model(value, None)
    assert str(raised.value).startswith(f"--model {value}: ") and said in str(raised.value)


def test_c3_a_folder_without_a_pipeline(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError, match=r"this folder has no model_index.json \(but notes.txt\)"):
        check_model(str(tmp_path), None)


@pytest.fixture
def online(monkeypatch, tmp_path):
    """The hub may be asked, and nothing was downloaded before. Yields what is asked of it: a function to replace."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_ETAG_TIMEOUT", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")

    def answer(function):
        monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda self, repo, timeout: function())

    return answer


def test_c3_a_hub_that_does_not_answer_costs_no_more_than_its_time(online, monkeypatch):
    monkeypatch.setattr(sources, "HUB_SECONDS", 0.2)
    online(lambda: time.sleep(5))
    began = time.monotonic()
    with pytest.raises(ConfigError, match="the hub does not answer within 0.2 s"):
        check_source("--model", "owner/name")
    assert time.monotonic() - began < 2


def test_c3_what_the_hub_says(online):
    import httpx
    from huggingface_hub.errors import RepositoryNotFoundError

    def raising(error):
        def answer():
            raise error

        return answer

    response = httpx.Response(401, request=httpx.Request("GET", "https://huggingface.co"))
    online(raising(RepositoryNotFoundError("gone", response=response)))
    with pytest.raises(ConfigError, match="the hub has no model of this name"):
        check_source("--model", "owner/name")
    online(raising(OSError("Name or service not known")))
    with pytest.raises(ConfigError, match=r"the hub cannot be reached \(Name or service not known\)"):
        check_source("--model", "owner/name")
    online(lambda: None)
    check_source("--model", "owner/name")
    assert not constants.HF_HUB_OFFLINE


def test_c3_what_was_downloaded_before_is_used_without_the_hub(online, tmp_path):
    def unreachable():
        raise OSError("no network")

    online(unreachable)
    (tmp_path / "cache" / "models--owner--name" / "snapshots" / "abc").mkdir(parents=True)
    check_source("--lora", "owner/name")
    assert constants.HF_HUB_OFFLINE  # spares the libraries their retries


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_offloading_needs_an_accelerator(offload, monkeypatch):
    monkeypatch.setattr("dymo.load_miniature", lambda: tiny.sd())
    with pytest.raises(ConfigError, match=f"--offload {offload}: needs an accelerator"):
        models.load_pipeline(None, offload=offload)


def test_a_scheduler_by_the_name_of_its_class(monkeypatch):
    monkeypatch.setattr("dymo.load_miniature", lambda: tiny.sd())
    models.check_choices("EulerDiscreteScheduler", None)
    assert models.sampler_name(models.load_pipeline(None, "EulerDiscreteScheduler").scheduler) == "Euler"
    with pytest.raises(ConfigError, match="diffusers has no class of this name"):
        models.load_pipeline(None, "NoSuchScheduler")
