"""Trained weights put into a pipeline for a while: another UNet, a LoRA."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import PipelineError


def load_unet(source: str, like: Any) -> Any:
    """The UNet of a hub id or folder (its folder `unet`, or itself), in the precision and place of `like`'s.

    Raises PipelineError where there is none, or where it has another form than the pipeline's.
    """
    from diffusers import UNet2DConditionModel

    own = like.unet
    reason = ""
    for subfolder in ("unet", None):
        try:
            unet = UNet2DConditionModel.from_pretrained(source, subfolder=subfolder, torch_dtype=own.dtype)
            break
        except (OSError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
    else:
        raise PipelineError(f"cannot load a UNet from {source!r}: {reason}; give a hub id or folder of one")
    for name in ("in_channels", "cross_attention_dim", "block_out_channels"):
        found, wanted = unet.config[name], own.config[name]
        # A file has lists where a constructor was given tuples.
        if json.dumps(found) != json.dumps(wanted):
            raise PipelineError(
                f"the UNet of {source!r} has {name}={found!r}, this pipeline's {wanted!r}: it belongs to another family"
            )
    return unet.to(own.device).eval()


def load_lora(pipe: Any, source: str) -> None:
    """Put the LoRA of a hub id, folder or safetensors file into the pipeline. Raises PipelineError."""
    try:
        pipe.load_lora_weights(source)
    except (OSError, ValueError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise PipelineError(
            f"cannot load the LoRA {source!r}: {reason}; give a safetensors file, a folder or a hub id"
            " (and install dymo-diffusion[lora])"
        ) from error


@contextmanager
def variant(pipe: Any, unet: str | None = None, lora: str | None = None) -> Iterator[Any]:
    """A pipeline of the same components with another UNet, and a LoRA inside; the given one is as it was afterwards."""
    made = pipe if unet is None else _with(pipe, unet=load_unet(unet, pipe))
    try:
        if lora is not None:
            load_lora(made, lora)
        yield made
    finally:
        if lora is not None and hasattr(made, "unload_lora_weights"):
            made.unload_lora_weights()


def _with(pipe: Any, **components: Any) -> Any:
    """A pipeline object of the same class and settings that shares all components but those given."""
    takes = inspect.signature(type(pipe).__init__).parameters
    settings = {name: value for name, value in pipe.config.items() if name in takes and name not in pipe.components}
    made = type(pipe)(**{**pipe.components, **settings, **components})
    made.set_progress_bar_config(**getattr(pipe, "_progress_bar_config", {}))
    return made
