"""SD1.5, SD2 and SDXL: a UNet with cross-attention to CLIP's tokens, and everything built on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import PipelineError
from ...guidance.loop import Rows
from ...parts import Set, Setting
from ..taps import AttentionTaps
from . import Branches, Family, Taps, inner, negative_first

_GUIDED = "do_classifier_free_guidance"
# Those that have no such property, and guidance where the argument guidance_scale is above 1.
_BY_ARGUMENT = (
    "StableDiffusionGLIGENPipeline", "StableDiffusionGLIGENTextImagePipeline", "StableDiffusionModelEditingPipeline",
    "StableDiffusionUpscalePipeline", "StableDiffusionXLInstructPix2PixPipeline", "StableUnCLIPImg2ImgPipeline",
)  # fmt: skip
_STAGES = ("down_blocks", "mid_block", "up_blocks")


class UNet(Family):
    """The family of `UNet2DConditionModel`."""

    def check(self, pipe: Any) -> None:
        name, unet, vae = type(pipe).__name__, pipe.unet, getattr(pipe, "vae", None)
        kind = type(inner(unet)).__name__
        if kind in ("UNetMotionModel", "UNetSpatioTemporalConditionModel", "UNet3DConditionModel", "I2VGenXLUNet"):
            raise PipelineError(
                f"{name} makes videos (its denoiser is {kind}): only pipelines for images can be steered"
            )
        if vae is None:
            raise PipelineError(f"{name} has no VAE to decode its predictions for a reward: load it with one, or use a model of latents")
        channels = getattr(vae.config, "out_channels", 3)
        if channels != 3:
            raise PipelineError(f"the VAE of {name} gives {channels} channels, not an image of 3")
        if not hasattr(type(pipe), _GUIDED) and not any(c.__name__ in _BY_ARGUMENT for c in type(pipe).__mro__):
            raise PipelineError(
                f"{name} does not say whether it runs with guidance (no property {_GUIDED}), so the rows of its denoiser cannot be told "
                "apart: use the plain, img2img, inpaint, ControlNet, adapter or PAG pipelines. If its batch is [negative, positive], as "
                "theirs is, give its class that property, of the call's guidance, and guidance_scale"
            )

    def denoiser(self, pipe: Any) -> nn.Module:
        return pipe.unet

    def branches(self, pipe: Any, given: Mapping[str, Any], call: int = 0) -> Branches:
        if hasattr(type(pipe), _GUIDED):
            guided = bool(pipe.do_classifier_free_guidance)
        else:
            guided = given["guidance_scale"] > 1 and given.get("image_guidance_scale", 1) >= 1
        # InstructPix2Pix: text and image, image alone, neither.
        if hasattr(type(pipe), "image_guidance_scale") or "image_guidance_scale" in given:
            return Branches(3, 0, 1) if guided else Branches(1, 0, None)
        return negative_first(pipe, guided)

    def scale(self, pipe: Any, given: Mapping[str, Any]) -> float:
        return float(pipe.guidance_scale if hasattr(type(pipe), "guidance_scale") else given["guidance_scale"])

    def take(self, args: tuple, kwargs: dict[str, Any], rows: Rows, batch: int) -> tuple[tuple, dict[str, Any]]:
        return super().take(args, _with_masks_apart(kwargs), rows, batch)

    def spread(self, args: tuple, kwargs: dict[str, Any], batch: int) -> tuple[tuple, dict[str, Any]] | None:
        kwargs = _with_masks_apart(kwargs)
        t, device = kwargs["timestep"] if "timestep" in kwargs else args[1], self.sample(args, kwargs).device
        each = torch.as_tensor(t, device=device).reshape(-1)
        each = each if len(each) == batch else each.expand(batch)
        return (args, {**kwargs, "timestep": each}) if "timestep" in kwargs else ((args[0], each, *args[2:]), kwargs)

    def packed(self, output: Any) -> Any:
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

        return UNet2DConditionOutput(sample=output)

    def taps(self, pipe: Any, latents: Sequence[int], map_size: int | None, layers: Sequence[int] | None) -> Taps:
        if layers is None:
            modules, grid = self.attention(pipe, latents, map_size)
        else:
            modules, grid = self._numbered(pipe, latents, layers)
        return AttentionTaps(modules, grid, self.last_block(pipe, list(modules)[-1]))

    def _numbered(
        self, pipe: Any, latents: Sequence[int], layers: Sequence[int]
    ) -> tuple[dict[str, nn.Module], tuple[int, int]]:
        every = list(cross_attentions(pipe.unet).items())
        if wrong := [i for i in layers if i >= len(every)]:
            raise PipelineError(
                Setting("map_layers", tuple(layers)), f": this denoiser has cross-attentions 0 to {len(every) - 1}, and no {wrong[0]}"
            )
        chosen = dict(every[i] for i in sorted(layers))
        sizes: dict[str, int] = {}
        for factor, modules in self._by_factor(pipe.unet).items():
            sizes |= {name: factor for name in chosen if name in modules}
        if len(set(sizes.values())) > 1:
            shown = ", ".join(f"{i} a {sizes[every[i][0]]}th" for i in sorted(layers))
            raise PipelineError(
                Setting("map_layers", tuple(layers)), f": maps of one size are needed, and of the latents' rows layer {shown} are read"
            )
        factor = next(iter(sizes.values()))
        return chosen, (-(-latents[0] // factor), -(-latents[1] // factor))

    def attention(
        self, pipe: Any, latents: Sequence[int], map_size: int | None
    ) -> tuple[dict[str, nn.Module], tuple[int, int]]:
        """By default the layers at a quarter of the latents (SD1.5 at 512: 16x16; SDXL at 1024: 32x32), or the finest."""
        by_factor = self._by_factor(pipe.unet)
        if not by_factor:
            raise PipelineError(
                "the denoiser has no cross-attention with to_q and to_k: unfuse its projections, or ", Set(Setting("semantic_weight", 0)),
            )
        if map_size is None:
            factor = 4 if 4 in by_factor else min(by_factor)
        else:
            factor = latents[0] // map_size
            if factor not in by_factor or latents[0] % map_size:
                sizes = sorted(-(-latents[0] // f) for f in by_factor)
                raise PipelineError(
                    Setting("map_size", map_size), f": this denoiser has maps of {sizes} rows at latents of {latents[0]} by {latents[1]}",
                )
        return by_factor[factor], (-(-latents[0] // factor), -(-latents[1] // factor))

    def sizes(self, pipe: Any) -> list[list[int]]:
        names = list(cross_attentions(pipe.unet))
        return [sorted(map(names.index, modules)) for _, modules in sorted(self._by_factor(pipe.unet).items())]

    @staticmethod
    def _by_factor(unet: nn.Module) -> dict[int, dict[str, nn.Module]]:
        """The cross-attentions by how many latents' rows are one of theirs."""
        deepest = len(unet.config.block_out_channels) - 1
        found: dict[int, dict[str, nn.Module]] = {}
        for name, module in cross_attentions(unet).items():
            part, _, rest = name.partition(".")
            level = deepest if part == "mid_block" else int(rest.split(".")[0])
            found.setdefault(2 ** (deepest - level if part == "up_blocks" else level), {})[name] = module
        return found

    def last_block(self, pipe: Any, name: str) -> nn.Module:
        """The block of the UNet that a layer of attention is in, as "mid_block" or "up_blocks.1"."""
        parts = name.split(".")
        return pipe.unet.get_submodule(".".join(parts[: 1 if parts[0] == "mid_block" else 2]))

    def tokenizer(self, pipe: Any) -> Any:
        tokenizer = getattr(pipe, "tokenizer", None) or getattr(pipe, "tokenizer_2", None)
        if tokenizer is None:
            raise PipelineError(f"{type(pipe).__name__} has no tokenizer, so its words have no maps: ", Set(Setting("semantic_weight", 0)))
        if getattr(tokenizer, "padding_side", "right") == "left":
            raise PipelineError(
                f"the tokenizer of {type(pipe).__name__} puts its padding before the prompt, so that the places of its words are not known: ",
                Set(Setting("semantic_weight", 0)),
            )
        return tokenizer


def cross_attentions(unet: nn.Module) -> dict[str, nn.Module]:
    """name -> cross-attention module, in the order of the forward pass; not those of a ControlNet-XS between them."""
    found = {n: m for n, m in unet.named_modules() if n.endswith("attn2") and hasattr(m, "to_q") and ".ctrl_" not in n}
    return dict(sorted(found.items(), key=lambda item: _STAGES.index(item[0].split(".")[0])))


def _with_masks_apart(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The masks of several IP-Adapters in one tensor as diffusers' own list of them: its first dimension could be taken for rows."""
    own = kwargs.get("cross_attention_kwargs") or {}
    masks = own.get("ip_adapter_masks")
    if not isinstance(masks, Tensor):
        return kwargs
    return {**kwargs, "cross_attention_kwargs": {**own, "ip_adapter_masks": list(masks.unsqueeze(1))}}
