"""Checkpoints in one file, in the layouts that the authors of SD1.5, SD2 and SDXL published, of tiny pipelines.

The names are those of the latent-diffusion code, made from diffusers' by the numbering of the blocks.
"""

from __future__ import annotations

import re
from pathlib import Path

import tiny
import torch
from safetensors.torch import save_file
from transformers import CLIPTextModelWithProjection

_RESNET = (
    ("norm1.", "in_layers.0."), ("conv1.", "in_layers.2."), ("time_emb_proj.", "emb_layers.1."),
    ("norm2.", "out_layers.0."), ("conv2.", "out_layers.3."), ("conv_shortcut.", "skip_connection."),
)  # fmt: skip
_OUTSIDE = {
    "time_embedding.linear_1.": "time_embed.0.", "time_embedding.linear_2.": "time_embed.2.", "conv_in.": "input_blocks.0.0.",
    "conv_norm_out.": "out.0.", "conv_out.": "out.2.", "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
}  # fmt: skip


def ldm_unet(unet) -> dict[str, torch.Tensor]:
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


def ldm_vae(vae) -> dict[str, torch.Tensor]:
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


def clip_names(model) -> dict[str, torch.Tensor]:
    """A text encoder's weights as transformers named them before its release 5.6."""
    start = "" if hasattr(model, "text_model") else "text_model."
    return {start + name: value for name, value in model.state_dict().items()}


def open_clip(model) -> dict[str, torch.Tensor]:
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
    width = found["positional_embedding"].shape[1]
    found["text_projection"] = found.pop("text_projection.weight", torch.eye(width)).T
    return found


def sd15(pipe) -> dict[str, torch.Tensor]:
    """A StableDiffusionPipeline's weights as SD1.5's: the text encoder by the names of transformers."""
    text = {f"cond_stage_model.transformer.{name}": value for name, value in clip_names(pipe.text_encoder).items()}
    return {**ldm_unet(pipe.unet), **ldm_vae(pipe.vae), **text}


def sd2(pipe) -> dict[str, torch.Tensor]:
    """The same as SD2's: the text encoder by the names of open_clip."""
    text = {f"cond_stage_model.model.{name}": value for name, value in open_clip(pipe.text_encoder).items()}
    return {**ldm_unet(pipe.unet), **ldm_vae(pipe.vae), **text}


def sdxl(pipe) -> dict[str, torch.Tensor]:
    """A StableDiffusionXLPipeline's weights as SDXL's: both text encoders, each by the names of its authors."""
    text = {f"conditioner.embedders.0.transformer.{name}": v for name, v in clip_names(pipe.text_encoder).items()}
    text |= {f"conditioner.embedders.1.model.{name}": v for name, v in open_clip(pipe.text_encoder_2).items()}
    return {**ldm_unet(pipe.unet), **ldm_vae(pipe.vae), **text}


def tiny_sdxl():
    """As in SDXL, the second encoder is the wider one: by its width diffusers' loader tells them apart."""
    pipe = tiny.sdxl()
    torch.manual_seed(1)
    pipe.text_encoder_2 = tiny.text_model(CLIPTextModelWithProjection, 48)
    pipe.unet = tiny.unet_xl(cross_attention_dim=80, projection_class_embeddings_input_dim=96)
    return pipe


def write(weights: dict[str, torch.Tensor], path: Path) -> Path:
    save_file({name: value.contiguous() for name, value in weights.items()}, path)
    return path


def z_image(net) -> dict[str, torch.Tensor]:
    """A Z-Image transformer's weights by the names of its authors' code, with queries, keys and values in one matrix."""
    names = {
        "all_final_layer.2-1.": "final_layer.", "all_x_embedder.2-1.": "x_embedder.", "to_out.0.": "out.", "norm_k.": "k_norm.", "norm_q.": "q_norm.",
    }  # fmt: skip
    weights, found = net.state_dict(), {}
    for name, value in weights.items():
        if ".attention.to_q." in name:
            parts = [weights[name.replace("to_q", part)] for part in ("to_q", "to_k", "to_v")]
            found[name.replace("to_q", "qkv")] = torch.cat(parts)
        elif ".attention.to_k." not in name and ".attention.to_v." not in name:
            for new, old in names.items():
                name = name.replace(new, old)
            found[name] = value
    return {f"model.diffusion_model.{name}": value for name, value in found.items()}


def gguf(net, path: Path) -> Path:
    """A denoiser's weights as llama.cpp's Q8_0: matrices of 8 bits in blocks of 32, and the rest as it is."""
    import gguf

    file = gguf.GGUFWriter(path, "flux")
    for name, value in net.state_dict().items():
        array = value.numpy()
        if array.ndim == 2 and array.shape[1] % 32 == 0:
            kind = gguf.GGMLQuantizationType.Q8_0
            file.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            file.add_tensor(name, array)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path


def configuration(pipe, folder: Path) -> Path:
    """The pipeline's folder without its weights."""
    pipe.save_pretrained(folder)
    for file in folder.rglob("*.safetensors"):
        file.unlink()
    return folder
