"""From the one-step prediction to an image, with a gradient."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ..errors import PipelineError, first_line
from ..guidance.step import per_sample
from ..pixels import opaque

_IN_FLOAT: weakref.WeakKeyDictionary[nn.Module, nn.Module] = weakref.WeakKeyDictionary()


def decoding_vae(vae: Any, device: torch.device) -> Any:
    """The VAE to decode with: itself, or a float32 copy, on the device, of one that overflows in half precision.

    The pipeline's own upcast comes only at the end. Its file says `force_upcast` (SDXL's); where that is but the class's
    default (SD1.5's), half precision is what pipelines use. The copy is made once, without the hooks of an offload.
    """
    said = getattr(vae.config, "force_upcast", False) and "force_upcast" not in vae.config.get(
        "_use_default_values", ()
    )
    if vae.dtype != torch.float16 or not said:
        return vae
    if vae not in _IN_FLOAT:
        copy = type(vae).from_config(vae.config).float().eval().requires_grad_(False)
        copy.load_state_dict(_weights(vae))
        _IN_FLOAT[vae] = copy
    return _IN_FLOAT[vae].to(device)


def _weights(module: nn.Module) -> dict[str, Tensor]:
    """A module's weights in float32 on the CPU; those of an offload are where its hooks keep them, and meta tensors here."""
    found = {name: value.float().cpu() for name, value in module.state_dict().items() if not value.is_meta}
    if len(found) < len(module.state_dict()):
        from accelerate.utils import align_module_device

        for path, part in module.named_modules():
            with align_module_device(part):
                own = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
                found |= {f"{path}.{name}" if path else name: value.detach().float().cpu() for name, value in own}
    return {name: found[name] for name in module.state_dict()}


def load_preview(source: str, like: Any) -> Any:
    """The AutoencoderTiny in a folder or of a hub id, on the device and in the precision of the pipeline `like`.

    Raises PipelineError.
    """
    from diffusers import AutoencoderTiny

    try:
        vae = AutoencoderTiny.from_pretrained(source, dtype=like.dtype)
    except (OSError, ValueError) as error:
        raise PipelineError(
            f"{source}: cannot be loaded ({first_line(error)}); give a folder or hub id of an AutoencoderTiny, as madebyollin/taesd"
        ) from error
    if other := channels_differ(vae, like):
        raise PipelineError(f"{source}: {other}")
    return vae.eval().to(like._execution_device)


def channels_differ(vae: Any, pipe: Any) -> str:
    """Why this VAE cannot decode the pipeline's latents; empty where nothing is known against it."""
    own, theirs = (getattr(one.config, "latent_channels", None) for one in (vae, pipe.vae))
    if own is None or theirs is None or own == theirs:
        return ""
    return f"this VAE decodes latents of {own} channels, and those of {type(pipe).__name__} have {theirs}: give the decoder made for its model"


def preview_of(vae: Any, pipe: Any) -> Any:
    """A VAE for predictions as it is given, or loaded where it is named. Raises PipelineError where it is none, or another model's."""
    if isinstance(vae, str):
        return load_preview(vae, pipe)
    if vae is not None and not isinstance(vae, nn.Module):
        raise PipelineError(f"{vae!r} decodes no predictions: give an AutoencoderTiny, or its folder or hub id")
    if vae is not None and (other := channels_differ(vae, pipe)):
        raise PipelineError(other)
    return vae


@dataclass(frozen=True)
class Form:
    """How a pipeline's latents stand to its VAE.

    layout: the order of their channels where they are patches of p x q, of which a VAE has statistics. shifted, scaled: whether the
    pipeline heeds the VAE's shift_factor and scaling_factor.
    """

    layout: str = "(c p q)"
    shifted: bool = True
    scaled: bool = True


USUAL = Form()


def decoder(vae: Any, form: Form = USUAL, channels_last: bool = False) -> Callable[[Tensor], Tensor]:
    """z0' (B, c, h, w), scaled as the denoiser sees it -> images (B, 3, H, W), [0, 1] but for overshoot, float32.

    `vae`: an AutoencoderKL, an AutoencoderTiny (whose scaling factor is 1) or an AutoencoderDC; Qwen-Image's, which takes
    an image for a video of one frame; or FLUX.2's, whose latents are normalised by the statistics of a batch normalisation as
    2 x 2 patches, which they may come as, their channels in the order of the `form`. channels_last: the memory format that
    convolutions in half precision are quick in on CUDA, from the start.
    """
    video = hasattr(vae.config, "temperal_downsample")
    normed = getattr(vae, "bn", None)
    factor = (getattr(vae.config, "scaling_factor", None) or 1.0) if form.scaled else 1.0
    shift = (getattr(vae.config, "shift_factor", None) or 0.0) if form.shifted else 0.0
    mean, std = (getattr(vae.config, f"latents_{name}", None) for name in ("mean", "std"))

    def decode(z0: Tensor) -> Tensor:
        z = z0 / factor + shift
        if normed is not None:
            deviation = (normed.running_var.float() + vae.config.batch_norm_eps).sqrt().to(z0)
            if z0.shape[1] == vae.config.latent_channels:
                z0 = rearrange(z0, "b c (h p) (w q) -> b (c p q) h w", p=2, q=2)
            z = z0 * deviation.view(1, -1, 1, 1) + normed.running_mean.to(z0).view(1, -1, 1, 1)
            z = rearrange(z, f"b {form.layout} h w -> b c (h p) (w q)", p=2, q=2)
        if mean is not None and std is not None:
            z = z0 * z0.new_tensor(std).view(1, -1, 1, 1) / factor + z0.new_tensor(mean).view(1, -1, 1, 1)
        z = z.unsqueeze(2) if video else z
        z = z.to(vae.dtype)
        if channels_last and z.ndim == 4:
            z = z.contiguous(memory_format=torch.channels_last)
        images = vae.decode(z, return_dict=False)[0]
        images = images[:, :, 0] if video else images
        return opaque(images).float() / 2 + 0.5

    def safe(z0: Tensor) -> Tensor:
        return _Rescaled.apply(decode, z0) if z0.requires_grad and vae.dtype != torch.float32 else decode(z0)

    return safe


def power_of_two(gradient: Tensor) -> Tensor:
    """A power of two as large as each sample's largest entry, (B, 1, ...): dividing by it is exact, and fits half precision."""
    most = torch.linalg.vector_norm(gradient.flatten(1), torch.inf, dim=1, dtype=torch.float32)
    usable = (most > 0) & (most < torch.inf)
    exponent = torch.where(usable, most, 1.0).log2().ceil()
    return per_sample(torch.exp2(exponent), gradient)


class _Rescaled(torch.autograd.Function):
    """A function whose backward runs in half precision on gradients brought to size 1, and back, sample by sample."""

    @staticmethod
    def forward(ctx: Any, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        with torch.enable_grad():
            ctx.leaf = x.detach().requires_grad_()
            ctx.output = function(ctx.leaf)
        return ctx.output.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        size = power_of_two(gradients[0])
        (found,) = torch.autograd.grad(ctx.output, ctx.leaf, gradients[0] / size, retain_graph=True)
        return None, found * size
