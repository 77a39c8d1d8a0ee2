"""The transformers in the sizes that are published, as pipelines without text encoders: what `tools.cost` counts beside the UNets.

Configurations: the model cards' `transformer/config.json` of stabilityai/stable-diffusion-3.5-medium and -large,
black-forest-labs/FLUX.1-dev, and Tongyi-MAI/Z-Image-Turbo; images of 1024 x 1024.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from torch import nn

Fake = Callable[..., Any]
"""(a function that builds a module, its dtype) -> the module, its parameters fake."""

CHAT = "{% for m in messages %}<|startoftext|>{{ m['content'] }}<|endoftext|>{% endfor %}"


def sd35(layers: int, width: int, positions: int, dual: tuple[int, ...]) -> SD3Transformer2DModel:
    return SD3Transformer2DModel(
        sample_size=128, patch_size=2, in_channels=16, out_channels=16, num_layers=layers, attention_head_dim=64,
        num_attention_heads=width // 64, joint_attention_dim=4096, caption_projection_dim=width, pooled_projection_dim=2048,
        pos_embed_max_size=positions, dual_attention_layers=dual, qk_norm="rms_norm",
    )  # fmt: skip


DENOISERS: dict[str, Callable[[], nn.Module]] = {
    "SD3.5-M": lambda: sd35(24, 1536, 384, tuple(range(13))),
    "SD3.5-L": lambda: sd35(38, 2432, 192, ()),
    "FLUX.1-dev": lambda: FluxTransformer2DModel(guidance_embeds=True),
    "Z-Image-Turbo": ZImageTransformer2DModel,
}


def vae(scaling: float, shift: float) -> AutoencoderKL:
    """The autoencoder of 16 channels that SD3 and FLUX.1 share the shape of."""
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=16, sample_size=1024, scaling_factor=scaling,
        shift_factor=shift, use_quant_conv=False, use_post_quant_conv=False, force_upcast=False,
    )  # fmt: skip


def tiny() -> AutoencoderTiny:
    """taesd3 and taef1."""
    return AutoencoderTiny(latent_channels=16)


def pipeline(family: str, fake: Fake, tokenizer: Any) -> tuple[Any, dict[str, Any]]:
    """The pipeline of a family, and the arguments of its call in place of a prompt. Raises KeyError."""
    denoiser, half = fake(DENOISERS[family], torch.bfloat16), torch.bfloat16
    of_sd3 = family.startswith("SD3.5")
    decoding = fake(functools.partial(vae, *((1.5305, 0.0609) if of_sd3 else (0.3611, 0.1159))), half)
    clock = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=family == "FLUX.1-dev")
    parts = dict(transformer=denoiser, vae=decoding, scheduler=clock, text_encoder=None, tokenizer=tokenizer)

    def words(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=half)

    call: dict[str, Any]
    if of_sd3:
        rest = dict.fromkeys(("text_encoder_2", "text_encoder_3", "tokenizer_2"))
        pipe = StableDiffusion3Pipeline(**parts, **rest, tokenizer_3=tokenizer)
        call = {name: words(1, 77 + 256, 4096) for name in ("prompt_embeds", "negative_prompt_embeds")}
        call |= {name: words(1, 2048) for name in ("pooled_prompt_embeds", "negative_pooled_prompt_embeds")}
    elif family == "FLUX.1-dev":
        pipe = FluxPipeline(**parts, text_encoder_2=None, tokenizer_2=tokenizer)
        call = {"prompt_embeds": words(1, 512, 4096), "pooled_prompt_embeds": words(1, 768)}
    else:
        tokenizer.chat_template = CHAT
        pipe = ZImagePipeline(**parts)
        call = {"prompt_embeds": [words(128, 2560)], "guidance_scale": 0.0}
    pipe.set_progress_bar_config(disable=True)
    return pipe, call
