"""The pipeline that the user named, ready on its device."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError, PipelineError
from ..pipelines.variants import first_line, load_loras, load_unet
from .sources import family_of, is_single_file

logger = logging.getLogger(__name__)

DTYPES = ("float32", "float16", "bfloat16")
_SCHEDULERS = {
    "ddim": "DDIMScheduler", "ddpm": "DDPMScheduler", "euler": "EulerDiscreteScheduler",
    "euler-ancestral": "EulerAncestralDiscreteScheduler",
}  # fmt: skip


def check_choices(scheduler: str | None, dtype: str | None) -> None:
    """Raises ConfigError on an unknown --scheduler or --dtype."""
    if scheduler is not None and scheduler not in _SCHEDULERS and not scheduler.endswith("Scheduler"):
        raise ConfigError(
            f"--scheduler {scheduler!r}: choose one of {', '.join(_SCHEDULERS)}, or the name of a diffusers class, as "
            "DDIMScheduler"
        )
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"--dtype {dtype!r}: choose one of {', '.join(DTYPES)}")


def choose_device(device: str | None) -> str:
    """The device asked for, else the best there is. Raises ConfigError where it is not there."""
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {device!r}: cannot be used ({first_line(error)}); try --device cpu") from error
    return device


def load_pipeline(
    model: str | None,
    scheduler: str | None = None,
    dtype: str | None = None,
    device: str = "cpu",
    *,
    config: str | None = None,
    loras: Sequence[tuple[str, float]] = (),
    unet: str | None = None,
    offload: str = "none",
) -> Any:
    """The miniature (model None), a folder, a hub id or a .safetensors checkpoint; without a progress bar of its own.

    On `device`, or with its models (offload "model") or layers ("sequential") brought there one after the other.
    dtype None: float16 on CUDA for other models than the miniature, else float32. config: the pipeline whose
    configuration and tokenizers a checkpoint gets; loras: sources with their strengths. Raises PipelineError where
    something cannot be loaded.
    """
    import torch

    import dymo

    if model is None:
        pipe = dymo.load_miniature()
        if dtype is not None:
            pipe = pipe.to(getattr(torch, dtype))
    else:
        pipe = _load(model, config, getattr(torch, dtype or ("float16" if device.startswith("cuda") else "float32")))
    if scheduler is not None:
        pipe.register_modules(scheduler=_scheduler_class(scheduler).from_config(pipe.scheduler.config))
    if unet is not None:
        pipe.register_modules(unet=load_unet(unet, pipe))
    if loras:
        load_loras(pipe, loras)
    if offload == "none":
        pipe = pipe.to(device)
    elif device == "cpu":
        raise ConfigError(f"--offload {offload}: needs an accelerator, and the device is the CPU; leave it out")
    elif offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.enable_sequential_cpu_offload(device=device)
    pipe.set_progress_bar_config(disable=True)
    logger.info("%s from %s on %s, %s", type(pipe).__name__, model or "the package", device, pipe.dtype)
    return pipe


def _load(model: str, config: str | None, dtype: Any) -> Any:
    import diffusers

    family, default = family_of(model) if is_single_file(model) else ("", "")
    try:
        if not family:
            return diffusers.AutoPipelineForText2Image.from_pretrained(model, torch_dtype=dtype)
        path = str(Path(model).expanduser())
        return getattr(diffusers, family).from_single_file(path, config=config or default, torch_dtype=dtype)
    except Exception as error:  # the loaders raise whatever a wrong file makes them raise
        logger.debug("the loader's own error", exc_info=True)
        raise PipelineError(
            f"--model {model}: cannot be loaded ({first_line(error)}); give a diffusers folder, a hub id, or a checkpoint "
            "with the --config of its family"
        ) from error


def load_preview_vae(name: str, like: Any) -> Any:
    """An AutoencoderTiny by folder or hub id, on the pipeline's device and precision. Raises PipelineError."""
    from diffusers import AutoencoderTiny

    try:
        vae = AutoencoderTiny.from_pretrained(name, torch_dtype=like.dtype)
    except (OSError, ValueError) as error:
        raise PipelineError(
            f"--preview-vae {name}: cannot be loaded ({first_line(error)}); give a folder or hub id of an AutoencoderTiny, "
            "as madebyollin/taesd"
        ) from error
    return vae.to(like._execution_device)


def sampler_name(scheduler: Any) -> str:
    """What other programs call this scheduler."""
    name = type(scheduler).__name__.removesuffix("Scheduler").removesuffix("Discrete")
    return "Euler a" if name == "EulerAncestral" else name


def call_default(pipe: Any, name: str) -> Any:
    """The default of a parameter of the pipeline's call; None where it has none."""
    parameter = inspect.signature(pipe.__call__).parameters.get(name)
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


def quiet_libraries() -> None:
    """Keep the libraries' own bars and notices off the screen; errors still show."""
    import diffusers.utils.logging
    import huggingface_hub.utils.logging
    import transformers.utils.logging

    # The hub keeps its bars: a download takes minutes.
    huggingface_hub.utils.logging.set_verbosity_error()
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(diffusers|transformers|huggingface_hub)(\.|$)")


def _scheduler_class(name: str) -> Any:
    import diffusers

    found = getattr(diffusers, _SCHEDULERS.get(name, name), None)
    if found is None:
        raise ConfigError(f"--scheduler {name!r}: diffusers has no class of this name; as DDIMScheduler")
    return found
