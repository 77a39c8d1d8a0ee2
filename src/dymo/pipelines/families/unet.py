"""SD1.5, SD2 and SDXL: a UNet with cross-attention to CLIP's tokens, and everything built on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ...errors import PipelineError
from . import Branches

_STAGES = ("down_blocks", "mid_block", "up_blocks")


class UNet:
    """The family of `UNet2DConditionModel`."""

    def check(self, pipe: Any) -> None:
        name, unet, vae = type(pipe).__name__, pipe.unet, getattr(pipe, "vae", None)
        kind = type(getattr(unet, "_orig_mod", unet)).__name__
        if kind in ("UNetMotionModel", "UNetSpatioTemporalConditionModel", "UNet3DConditionModel", "I2VGenXLUNet"):
            raise PipelineError(f"{name} makes videos (its denoiser is {kind}): only pipelines for images can be steered")
        if vae is None:
            raise PipelineError(f"{name} has no VAE: its predictions cannot be decoded for a reward")
        channels = getattr(vae.config, "out_channels", 3)
        if channels != 3:
            raise PipelineError(f"the VAE of {name} gives {channels} channels, not an image of 3")
        if not hasattr(type(pipe), "do_classifier_free_guidance"):
            raise PipelineError(
                f"{name} does not say whether it runs with guidance (no property do_classifier_free_guidance), so the rows "
                "of its denoiser cannot be told apart: use the plain, img2img, inpaint, ControlNet, adapter or PAG pipelines"
            )

    def denoiser(self, pipe: Any) -> nn.Module:
        return pipe.unet

    def branches(self, pipe: Any) -> Branches:
        guided = bool(pipe.do_classifier_free_guidance)
        if hasattr(type(pipe), "image_guidance_scale"):  # InstructPix2Pix: text and image, image alone, neither
            return Branches(3, 0, 1) if guided else Branches(1, 0, None)
        perturbed = bool(getattr(pipe, "do_perturbed_attention_guidance", False))
        return Branches(1 + guided + perturbed, int(guided), 0 if guided else None, joint=perturbed)

    def scale(self, pipe: Any) -> float:
        return float(pipe.guidance_scale)

    def packed(self, output: Any) -> Any:
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

        return UNet2DConditionOutput(sample=output)

    def attention(
        self, pipe: Any, latents: Sequence[int], map_size: int | None
    ) -> tuple[dict[str, nn.Module], tuple[int, int]]:
        """By default the layers at a quarter of the latents (SD1.5 at 512: 16x16; SDXL at 1024: 32x32), or the finest."""
        unet = pipe.unet
        deepest = len(unet.config.block_out_channels) - 1
        by_factor: dict[int, dict[str, nn.Module]] = {}
        for name, module in cross_attentions(unet).items():
            part, _, rest = name.partition(".")
            level = deepest if part == "mid_block" else int(rest.split(".")[0])
            by_factor.setdefault(2 ** (deepest - level if part == "up_blocks" else level), {})[name] = module
        if not by_factor:
            raise PipelineError(
                "the denoiser has no cross-attention with to_q and to_k: unfuse its projections, or set semantic_weight=0"
            )
        if map_size is None:
            factor = 4 if 4 in by_factor else min(by_factor)
        else:
            factor = latents[0] // map_size
            if factor not in by_factor or latents[0] % map_size:
                sizes = sorted(-(-latents[0] // f) for f in by_factor)
                raise PipelineError(
                    f"map_size={map_size}: this denoiser has maps of {sizes} rows at latents of {latents[0]} by {latents[1]}"
                )
        return by_factor[factor], (-(-latents[0] // factor), -(-latents[1] // factor))

    def last_block(self, pipe: Any, name: str) -> nn.Module:
        parts = name.split(".")
        return pipe.unet.get_submodule(".".join(parts[: 1 if parts[0] == "mid_block" else 2]))

    def tokenizer(self, pipe: Any) -> Any:
        tokenizer = getattr(pipe, "tokenizer", None) or getattr(pipe, "tokenizer_2", None)
        if tokenizer is None:
            raise PipelineError(f"{type(pipe).__name__} has no tokenizer, so its words have no maps: set semantic_weight=0")
        return tokenizer


def cross_attentions(unet: nn.Module) -> dict[str, nn.Module]:
    """name -> cross-attention module, in the order of the forward pass."""
    found = {n: m for n, m in unet.named_modules() if n.endswith("attn2") and hasattr(m, "to_q")}
    return dict(sorted(found.items(), key=lambda item: _STAGES.index(item[0].split(".")[0])))
