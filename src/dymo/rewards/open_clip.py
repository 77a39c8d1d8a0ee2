"""CLIP's weights under open_clip's names, and under transformers'."""

from __future__ import annotations

import re

from torch import Tensor
from transformers import CLIPModel

from .checkpoint import State, shapes

# transformers -> open_clip; what is not here lies in a layer.
_TOP = {
    "logit_scale": "logit_scale", "text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "text_model.final_layer_norm.weight": "ln_final.weight", "text_model.final_layer_norm.bias": "ln_final.bias",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight", "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight", "vision_model.post_layernorm.bias": "visual.ln_post.bias",
}  # fmt: skip
_LAYER = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip
# open_clip multiplies by these from the right: x @ P.
_TRANSPOSED = ("text_projection", "visual.proj")
_TOWERS = {"text_model": "transformer", "vision_model": "visual.transformer"}


def published(name: str) -> tuple[str, int | None]:
    """The name in open_clip of a parameter of CLIPModel, and which third of it (q, k or v) is meant; None: the whole."""
    if name in _TOP:
        return _TOP[name], None
    match = re.fullmatch(r"(\w+)\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
    assert match is not None, name
    tower, layer, part, kind = match.groups()
    block = f"{_TOWERS[tower]}.resblocks.{layer}"
    if part in _LAYER:
        return f"{block}.{_LAYER[part]}.{kind}", None
    return f"{block}.attn.in_proj_{kind}", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj").index(part)


def open_clip_shapes(model: CLIPModel) -> dict[str, tuple[int, ...]]:
    """What an open_clip file of this model's sizes holds: name -> shape."""
    found = {}
    for name, shape in shapes(model.state_dict()).items():
        theirs, third = published(name)
        whole = shape if third is None else (3 * shape[0], *shape[1:])
        found[theirs] = whole[::-1] if theirs in _TRANSPOSED else whole
    return found


def from_open_clip(state: State, model: CLIPModel) -> dict[str, Tensor]:
    """The model's parameters by its own names, from a state of exactly `open_clip_shapes`."""
    found = {}
    for name in model.state_dict():
        theirs, third = published(name)
        value = state[theirs] if third is None else state[theirs].chunk(3)[third]
        found[name] = (value.T if theirs in _TRANSPOSED else value).contiguous()
    return found
