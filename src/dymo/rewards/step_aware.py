"""The step-aware preference model: PickScore's CLIP whose image tower is told the timestep (SPO, CVPR 2025)."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from .clip import VIT_H_TOKENIZER, CLIPReward, clip_from_state, load_clip
from .preprocess import shortest_side_crop_aliased


def sinusoid(timesteps: Tensor, width: int, longest: float = 10000.0) -> Tensor:
    """cos(t w_i), then sin(t w_i), w_i = longest^(-i / (width / 2)): timesteps (B,) -> (B, width), width even, float32."""
    half = width // 2
    i = torch.arange(half, dtype=torch.float32, device=timesteps.device)
    angles = timesteps[:, None].float() * torch.exp(-math.log(longest) * i / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimestepEmbedder(nn.Module):
    """t (B,) in 0..999 -> (B, width)."""

    def __init__(self, width: int, frequencies: int = 256):
        super().__init__()
        self.frequencies = frequencies
        self.mlp = nn.Sequential(nn.Linear(frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, timesteps: Tensor) -> Tensor:
        return self.mlp(sinusoid(timesteps, self.frequencies).to(self.mlp[0].weight.dtype))


def modulation(width: int, parts: int) -> nn.Sequential:
    """SiLU and a linear map to `parts` vectors of `width`: zero, so that nothing changes before training but what the caller sets."""
    made = nn.Sequential(nn.SiLU(), nn.Linear(width, parts * width))
    nn.init.zeros_(made[1].weight)
    nn.init.zeros_(made[1].bias)
    return made


class ModulatedLayer(CLIPEncoderLayer):
    """CLIP's layer with the timestep's shift, scale and gate: x + gate f(norm(x) (1 + scale) + shift), twice."""

    def __init__(self, config: Any):
        super().__init__(config)
        width = config.hidden_size
        self.adaLN_modulation = modulation(width, 6)
        with torch.no_grad():  # gates of 1: as the layer without a timestep
            self.adaLN_modulation[1].bias[2 * width : 3 * width] = 1
            self.adaLN_modulation[1].bias[5 * width :] = 1

    def forward(self, hidden_states: Tensor, time: Tensor) -> Tensor:
        """hidden_states (B, n, width), time (B, width) -> (B, n, width)."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.adaLN_modulation(time)[:, None].chunk(6, dim=-1)
        attended, _ = self.self_attn(self.layer_norm1(hidden_states) * (1 + scale_a) + shift_a)
        hidden_states = hidden_states + gate_a * attended
        return hidden_states + gate_m * self.mlp(self.layer_norm2(hidden_states) * (1 + scale_m) + shift_m)


class StepAwareCLIP(CLIPModel):
    """A CLIPModel of any size whose image tower reads t; before training t changes nothing.

    `save_pretrained` and `from_pretrained` are transformers' own.
    """

    def __init__(self, config: CLIPConfig):
        super().__init__(config)
        tower = self.vision_model
        width = tower.config.hidden_size
        tower.encoder.layers = nn.ModuleList(ModulatedLayer(tower.config) for _ in tower.encoder.layers)
        tower.adaLN_modulation = modulation(width, 2)
        self.t_embedder = TimestepEmbedder(width)

    def image_features(self, pixels: Tensor, timesteps: Tensor) -> Tensor:
        """Prepared pixels (B, 3, side, side), t (B,) in 0..999 -> embeddings (B, d), not normalised."""
        tower, time = self.vision_model, self.t_embedder(timesteps)
        states = tower.pre_layrnorm(tower.embeddings(pixels))
        for layer in tower.encoder.layers:
            states = layer(states, time)
        shift, scale = tower.adaLN_modulation(time).chunk(2, dim=-1)
        return self.visual_projection(tower.post_layernorm(states[:, 0]) * (1 + scale) + shift)


class StepAwareReward(CLIPReward):
    """exp(logit_scale) cos(f_V(x, t), f_T(c)) on images shrunk without antialias; t None is 0, a clean image."""

    reads_timestep = True

    def __init__(self, model: StepAwareCLIP, tokenizer: Any, name: str, *normalisation: Any, **settings: Any):
        super().__init__(model, tokenizer, name, *normalisation, **{"prepare": shortest_side_crop_aliased, **settings})

    def _embed(self, pixels: Tensor, timestep: float | None) -> Tensor:
        timesteps = torch.full((pixels.shape[0],), timestep or 0.0, dtype=torch.float32, device=pixels.device)
        return self.model.image_features(pixels, timesteps)


step_aware_from_state = partial(clip_from_state, kind=StepAwareCLIP, prefix="model.")  # as the published files name it
load_step_aware = partial(
    load_clip, tokenizer=VIT_H_TOKENIZER, kind=StepAwareCLIP, convert=step_aware_from_state, reward=StepAwareReward
)  # fmt: skip
