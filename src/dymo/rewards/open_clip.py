"""CLIP's weights under open_clip's names, and under transformers'."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import CLIPModel

from .checkpoint import State, shapes

# transformers -> open_clip; what is not here lies in a layer.
_TOP = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "text_projection.weight": "text_projection",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "visual_projection.weight": "visual.proj",
    "logit_scale": "logit_scale",
}
_LAYER = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip
# open_clip multiplies by these from the right: x @ P.
_TRANSPOSED = ("text_projection", "visual.proj")
_QKV = ("q", "k", "v")
_TOWERS = {"text_model": "transformer", "vision_model": "visual.transformer"}


def to_open_clip(state: State) -> dict[str, Tensor]:
    """transformers' names -> open_clip's: q, k, v in one matrix, the two projections transposed."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        top = _TOP.get(name)
        if top is not None:
            found[top] = value.T if top in _TRANSPOSED else value
            continue
        match = re.fullmatch(r"(\w+)\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
        if match is None:
            continue  # computed, as position_ids
        tower, layer, part, kind = match.groups()
        block = f"{_TOWERS[tower]}.resblocks.{layer}"
        if part in _LAYER:
            found[f"{block}.{_LAYER[part]}.{kind}"] = value
        elif part == "self_attn.q_proj":
            prefix = name.removesuffix(f"q_proj.{kind}")
            found[f"{block}.attn.in_proj_{kind}"] = torch.cat([state[f"{prefix}{x}_proj.{kind}"] for x in _QKV])
    return found


def from_open_clip(state: State) -> dict[str, Tensor]:
    """open_clip's names -> transformers'; the inverse of `to_open_clip`. `state` must be a whole CLIP."""
    top, layer = ({theirs: ours for ours, theirs in names.items()} for names in (_TOP, _LAYER))
    towers = {theirs: ours for ours, theirs in _TOWERS.items()}
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if name in top:
            found[top[name]] = value.T.contiguous() if name in _TRANSPOSED else value
            continue
        tower, block, part, kind = _parts(name)
        prefix = f"{towers[tower]}.encoder.layers.{block}"
        if part == "attn.in_proj":
            for x, own in zip(_QKV, value.chunk(3), strict=True):
                found[f"{prefix}.self_attn.{x}_proj.{kind}"] = own.contiguous()
        else:
            found[f"{prefix}.{layer[part]}.{kind}"] = value
    return found


def open_clip_shapes(model: CLIPModel) -> Mapping[str, tuple[int, ...]]:
    """What an open_clip file of this model's sizes holds: name -> shape."""
    return shapes(to_open_clip({name: value.to("meta") for name, value in model.state_dict().items()}))


def _parts(name: str) -> tuple[str, str, str, str]:
    """Tower, number of the block, part ("attn.in_proj", "mlp.c_fc", ...), "weight" or "bias"."""
    match = re.fullmatch(r"((?:visual\.)?transformer)\.resblocks\.(\d+)\.(.+?)[._](weight|bias)", name)
    assert match is not None, name  # the names were compared before
    return match[1], match[2], match[3], match[4]
