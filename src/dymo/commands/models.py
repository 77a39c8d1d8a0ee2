"""The pipeline that the user named, ready on its device."""

from __future__ import annotations

import inspect
import warnings
from typing import Any, Literal, get_args

from ..errors import ConfigError, PipelineError

Scheduler = Literal["ddim", "ddpm", "euler", "euler-ancestral"]
Precision = Literal["float32", "float16", "bfloat16"]

_SCHEDULERS: dict[str, tuple[str, str]] = {
    # option -> diffusers class, the name other programs use
    "ddim": ("DDIMScheduler", "DDIM"),
    "ddpm": ("DDPMScheduler", "DDPM"),
    "euler": ("EulerDiscreteScheduler", "Euler"),
    "euler-ancestral": ("EulerAncestralDiscreteScheduler", "Euler a"),
}


def check_choices(scheduler: str | None, dtype: str | None) -> None:
    """Raises ConfigError on an unknown --scheduler or --dtype."""
    for option, value, kind in (("scheduler", scheduler, Scheduler), ("dtype", dtype, Precision)):
        if value is not None and value not in get_args(kind):
            raise ConfigError(f"--{option} {value!r}: choose one of {', '.join(get_args(kind))}")


def choose_device(device: str | None) -> str:
    """The device asked for, else the best there is. Raises ConfigError where it is not there."""
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--device {device!r}: not to be used here ({reason}); try --device cpu") from error
    return device


def load_pipeline(
    model: str | None,
    scheduler: str | None = None,
    dtype: str | None = None,
    device: str = "cpu",
    lora: str | None = None,
    unet: str | None = None,
) -> Any:
    """The miniature (model None), a local folder or a hub id, on `device`; without a progress bar of its own.

    dtype None: float16 on CUDA for other models than the miniature, else float32. Raises PipelineError where something
    cannot be loaded.
    """
    import diffusers
    import torch

    import dymo

    from ..pipelines.variants import load_lora, load_unet

    if model is None:
        pipe = dymo.load_miniature()
        if dtype is not None:
            pipe = pipe.to(getattr(torch, dtype))
    else:
        precision = getattr(torch, dtype or ("float16" if device.startswith("cuda") else "float32"))
        try:
            pipe = diffusers.AutoPipelineForText2Image.from_pretrained(model, torch_dtype=precision)
        except (OSError, ValueError) as error:
            raise PipelineError(
                f"cannot load the model {model!r}: {_first_line(error)}; give a diffusers folder or a hub id"
            ) from error
    if scheduler is not None:
        kind = getattr(diffusers, _SCHEDULERS[scheduler][0])
        pipe.scheduler = kind.from_config(pipe.scheduler.config)
    if unet is not None:
        pipe.unet = load_unet(unet, pipe)
    if lora is not None:
        load_lora(pipe, lora)
    pipe = pipe.to(device)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def load_preview_vae(name: str, like: Any) -> Any:
    """An AutoencoderTiny by folder or hub id, on the pipeline's device and precision. Raises PipelineError."""
    from diffusers import AutoencoderTiny

    try:
        vae = AutoencoderTiny.from_pretrained(name, torch_dtype=like.dtype)
    except (OSError, ValueError) as error:
        raise PipelineError(
            f"cannot load the preview VAE {name!r}: {_first_line(error)}; give a folder or hub id "
            "of an AutoencoderTiny, as madebyollin/taesd"
        ) from error
    return vae.to(like.device)


def sampler_name(scheduler: Any) -> str:
    """What other programs call this scheduler."""
    kind = type(scheduler).__name__
    known = dict(_SCHEDULERS.values())
    return known.get(kind, kind.removesuffix("Scheduler").removesuffix("Discrete"))


def call_default(pipe: Any, name: str) -> Any:
    """The default of a parameter of the pipeline's call; None where it has none."""
    try:
        parameter = inspect.signature(pipe.__call__).parameters.get(name)
    except (TypeError, ValueError):
        return None
    return None if parameter is None or parameter.default is inspect.Parameter.empty else parameter.default


def quiet_libraries() -> None:
    """Keep the libraries' own bars and notices off the screen; errors still show."""
    import diffusers.utils.logging
    import huggingface_hub.utils.logging
    import transformers.utils.logging

    # The hub keeps its bars: a download takes minutes.
    huggingface_hub.utils.logging.set_verbosity_error()
    for logging in (diffusers.utils.logging, transformers.utils.logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(diffusers|transformers|huggingface_hub)(\.|$)")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
