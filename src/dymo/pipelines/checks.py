"""Whether a pipeline, in its present state, can be steered; each refusal names the remedy."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ..config import Config
from ..errors import ConfigError, PipelineError, did_you_mean
from .families import levels_of

# Names under which diffusers registers hooks that reuse features across steps or change dtypes on the way.
_REUSING = ("cache", "pyramid_attention_broadcast", "fbc_", "taylorseer")
# What diffusers still takes out of its **kwargs.
_DEPRECATED = ("callback", "callback_steps")


def check_pipeline(pipe: Any, config: Config) -> None:
    """Raises PipelineError where gradients would be missing, wrong, or silently zero."""
    if torch.is_inference_mode_enabled():
        raise PipelineError(
            "called under torch.inference_mode(), where there are no gradients: call it outside, or under torch.no_grad()"
        )
    unet = getattr(pipe, "unet", None)
    if not isinstance(unet, nn.Module) or not hasattr(pipe, "vae"):
        raise PipelineError(
            f"{type(pipe).__name__} has no UNet and VAE: pipelines of the SD1.5, SD2 and SDXL families can be steered"
        )
    if not hasattr(type(pipe).__call__, "__wrapped__"):
        raise PipelineError(
            f"{type(pipe).__name__}.__call__ cannot be run with gradients: it is not wrapped by torch.no_grad as diffusers' are"
        )
    levels_of(pipe.scheduler)
    reusing = _hooks(unet)
    if getattr(unet, "is_cache_enabled", False) or reusing:
        raise PipelineError(
            f"the denoiser reuses features across steps ({reusing or 'cache'}): call pipe.unet.disable_cache() first"
        )
    compiled = hasattr(unet, "_orig_mod") or getattr(unet, "_compiled_call_impl", None) is not None
    if compiled and config.semantic_weight > 0:
        raise PipelineError(
            "the denoiser is compiled, and hooks added afterwards are ignored, so its attention maps cannot be read: "
            "use the eager one (pipe.unet = pipe.unet._orig_mod after torch.compile), or set semantic_weight=0"
        )
    if config.semantic_weight > 0 and any(getattr(m, "fused_projections", False) for m in unet.modules()):
        raise PipelineError(
            "the attention projections are fused: call pipe.unfuse_qkv_projections() first, or set semantic_weight=0"
        )


def check_arguments(pipe: Any, given: Iterable[str], own: Iterable[str] = ()) -> None:
    """Raises ConfigError on a name that a pipeline of diffusers does not know: its **kwargs would swallow it in silence.

    own: the names that the caller knows besides. A pipeline from elsewhere is believed: what its **kwargs are for,
    nobody can tell.
    """
    call = type(pipe).__call__
    if not call.__module__.startswith("diffusers."):
        return
    parameters = inspect.signature(call).parameters.values()
    known = [p.name for p in parameters if p.name != "self" and p.kind is not inspect.Parameter.VAR_KEYWORD]
    for name in given:
        if name in known or name in _DEPRECATED:
            continue
        if name in {field.name for field in dataclasses.fields(Config)}:
            raise ConfigError(f"{name}= is a setting of DyMO(..., {name}=...), not an argument of the call")
        close = did_you_mean(name, [*own, *known])
        raise ConfigError(f"{type(pipe).__name__} has no argument {name!r}{close}: it takes {', '.join(known)}")


def check_offload(pipe: Any, config: Config, preference: bool, preview: bool) -> None:
    """Model offload evicts the denoiser when the VAE decodes, while the denoiser's graph is still needed."""
    offloaded = bool(getattr(pipe, "_all_hooks", None))
    if offloaded and preference and not preview and config.gradient != "straight-through":
        raise PipelineError(
            "enable_model_cpu_offload() would move the denoiser away while its gradient is needed: give preview_vae= (an "
            "AutoencoderTiny), set gradient='straight-through', or use enable_sequential_cpu_offload()"
        )


def _hooks(unet: nn.Module) -> str:
    """The first hook of the denoiser that reuses features, by its registered name; '' without one."""
    for module in unet.modules():
        registry = getattr(module, "_diffusers_hook", None)
        for name in getattr(registry, "hooks", {}):
            if any(part in name for part in _REUSING):
                return name
    return ""
