"""Parts of tiny random pipelines, built offline with the real classes; `zoo` puts them together into every kind of pipeline."""

from __future__ import annotations

import functools
import inspect

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

PROMPT = "a red apple and a green car"
SMALL = dict(num_inference_steps=4, height=32, width=32, output_type="pt")
ONE_LEVEL = dict(block_out_channels=(8,), down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",))
"""Of a UNet, in place of two levels: fewer blocks to compile and operations to trace."""
THREE_LEVELS = dict(
    block_out_channels=(8, 16, 16), down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=4,
)  # fmt: skip
"""Attention at each of three resolutions."""


def assert_same_run(found, expected, images: float = 1e-4, numbers: float = 1e-4) -> None:
    """The outputs of two aligned runs agree in their images, recurrences, losses (absolutely) and gradients' norms (relatively)."""
    torch.testing.assert_close(found.images.float().cpu(), expected.images.float().cpu(), atol=images, rtol=0)
    for mine, theirs in zip(found.trace.steps, expected.trace.steps, strict=True):
        assert mine.recurrences == theirs.recurrences
        assert mine.gradient_norm == pytest.approx(theirs.gradient_norm, rel=numbers)
        for name in theirs.losses:
            assert mine.losses[name] == pytest.approx(theirs.losses[name], abs=numbers)


@functools.cache
def tokenizer() -> CLIPTokenizer:
    """Letters are tokens, and a few merges make some words one piece and leave others in several."""
    alphabet = sorted(ByteLevel.alphabet())
    merges = [("c", "a"), ("ca", "r</w>"), ("r", "e"), ("re", "d</w>"), ("a", "p"), ("l", "e</w>")]
    tokens = [
        *alphabet,
        *(f"{a}</w>" for a in alphabet),
        *("".join(m) for m in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=merges, model_max_length=48)


def text_model(kind=CLIPTextModel, hidden: int = 32, layers: int = 2, length: int = 48):
    tok = tokenizer()
    return kind(
        CLIPTextConfig(
            vocab_size=len(tok), hidden_size=hidden, intermediate_size=48, num_hidden_layers=layers, num_attention_heads=2,
            max_position_embeddings=length, projection_dim=hidden, bos_token_id=tok.bos_token_id, eos_token_id=tok.eos_token_id,
            pad_token_id=tok.pad_token_id,
        )
    ).eval()  # fmt: skip


def vae(channels: tuple[int, ...] = (8, 16), **changes) -> AutoencoderKL:
    """Halves the image's side once for each block after the first."""
    settings = dict(
        block_out_channels=channels, down_block_types=["DownEncoderBlock2D"] * len(channels),
        up_block_types=["UpDecoderBlock2D"] * len(channels), latent_channels=4, norm_num_groups=4, sample_size=64,
    )  # fmt: skip
    return AutoencoderKL(**{**settings, **changes}).eval()


def unet(**changes) -> UNet2DConditionModel:
    settings = dict(
        sample_size=16, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32, attention_head_dim=2,
    )  # fmt: skip
    return UNet2DConditionModel(**{**settings, **changes}).eval()


def scheduler(kind=DDIMScheduler, **changes):
    settings = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
    wanted = inspect.signature(kind).parameters
    settings |= {name: False for name in ("clip_sample", "set_alpha_to_one") if name in wanted}
    return kind(**{**settings, **changes})


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sd(kind=StableDiffusionPipeline, scheduler_kind=DDIMScheduler, **parts):
    torch.manual_seed(0)
    parts = {
        "unet": unet(), "vae": vae(), "text_encoder": text_model(), "tokenizer": tokenizer(),
        "scheduler": scheduler(scheduler_kind), **parts,
    }  # fmt: skip
    return quiet(kind(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False))


def controlnet(seed: int = 1, **changes) -> ControlNetModel:
    torch.manual_seed(seed)
    settings = dict(
        in_channels=4, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, cross_attention_dim=32, attention_head_dim=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), conditioning_embedding_out_channels=(4, 8),
    )  # fmt: skip
    net = ControlNetModel(**{**settings, **changes}).eval()
    for parameter in net.controlnet_down_blocks.parameters():  # initialised to zero: without this the net adds nothing
        torch.nn.init.normal_(parameter, std=0.1)
    return net


def sd_controlnet():
    return sd(StableDiffusionControlNetPipeline, controlnet=controlnet())


def sd_inpaint():
    return sd(StableDiffusionInpaintPipeline)


def sd_lora(**parts):
    from peft import LoraConfig

    pipe = sd(**parts)
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v", "to_out.0"], init_lora_weights=False))
    return pipe


def unet_xl(**changes) -> UNet2DConditionModel:
    settings = dict(
        cross_attention_dim=64, addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=80,
        transformer_layers_per_block=(1, 1),
    )  # fmt: skip
    return unet(**{**settings, **changes})


def sdxl(kind=StableDiffusionXLPipeline, **parts):
    torch.manual_seed(0)
    parts = {
        "unet": unet_xl(), "vae": vae(), "scheduler": scheduler(), "text_encoder": text_model(), "tokenizer": tokenizer(),
        "tokenizer_2": tokenizer(), "text_encoder_2": text_model(CLIPTextModelWithProjection), **parts,
    }  # fmt: skip
    if "add_watermarker" in inspect.signature(kind).parameters:
        parts["add_watermarker"] = False
    return quiet(kind(**parts))


def sdxl_img2img():
    return sdxl(StableDiffusionXLImg2ImgPipeline)


def brightness(images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
    """A reward that needs no weights."""
    return images.mean((1, 2, 3))
