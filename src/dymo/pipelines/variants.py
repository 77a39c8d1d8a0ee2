"""What is put into a pipeline for a while: another UNet, LoRAs, another sampler."""

from __future__ import annotations

import inspect
import json
import logging
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import ConfigError, PipelineError, first_line
from ..parts import Option
from .sampler_names import read_sampler

logger = logging.getLogger(__name__)


def load_unet(source: str, like: Any) -> Any:
    """The UNet of a hub id or folder (its folder `unet`, or itself), in the precision and place of `like`'s.

    Raises PipelineError where there is none, or where it has another form than the pipeline's.
    """
    from diffusers import UNet2DConditionModel

    own = like.unet
    reason = ""
    for subfolder in ("unet", None):
        try:
            unet = UNet2DConditionModel.from_pretrained(source, subfolder=subfolder, dtype=own.dtype)
            break
        except (OSError, ValueError) as error:
            reason = first_line(error)
    else:
        raise PipelineError(f"cannot load a UNet from {source!r}: {reason}; give a hub id or folder of one")
    for name in ("in_channels", "cross_attention_dim", "block_out_channels"):
        found, wanted = unet.config[name], own.config[name]
        # A file has lists where a constructor was given tuples.
        if json.dumps(found) != json.dumps(wanted):
            raise PipelineError(
                f"the UNet of {source!r} has the {name} {found!r}, this pipeline's {wanted!r}: it belongs to another family"
            )
    return unet.to(own.device).eval()


def read_lora(text: str) -> tuple[str, float]:
    """ "a.safetensors:0.8" -> ("a.safetensors", 0.8); without a strength 1. A colon before a slash is of a drive.

    Raises ConfigError where what follows the colon is no number.
    """
    match = re.fullmatch(r"(.*):([^:/\\]*)", text)
    if match is None or Path(text).expanduser().exists():
        return text, 1.0
    try:
        value = float(match[2])
    except ValueError:
        value = math.nan
    if not match[1] or not math.isfinite(value):
        raise ConfigError(f"{text}: {match[2]!r} is no strength; give FILE:0.8, or FILE alone for 1")
    return match[1], value


def repo_and_file(source: str) -> tuple[str, str]:
    """ "OWNER/NAME/FILE.safetensors" (or .gguf) of the hub -> ("OWNER/NAME", "FILE.safetensors"); anything else has the file ""."""
    match = re.fullmatch(r"([^/.~\\:][^/\\:]*/[^/\\:]+)/(.+\.(?:safetensors|gguf))", source)
    if match is None or Path(source.partition("/")[0]).is_dir():  # the path of a file that is not there
        return source, ""
    return match[1], match[2]


def load_loras(pipe: Any, loras: Sequence[tuple[str, float]]) -> None:
    """Put LoRAs of files, folders or hub ids into the pipeline, each with its strength. Raises PipelineError."""
    names = [f"lora_{n}" for n in range(len(loras))]
    for name, (source, _) in zip(names, loras, strict=True):
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several are meant
                pipe.load_lora_weights(**_place_of(source), adapter_name=name, use_safetensors=True)
        except Exception as error:  # the loader raises whatever a wrong file makes it raise
            logger.debug("the loader's own error", exc_info=True)
            remedy = "is it of this model's family?"
            if isinstance(error, ImportError) or "peft" in str(error).lower():
                remedy = "pip install 'dymo-diffusion[lora]'"
            raise PipelineError(Option("lora", source), f": cannot be loaded ({first_line(error)}); {remedy}") from error
        if not any(name in adapters for adapters in pipe.get_list_adapters().values()):
            raise PipelineError(Option("lora", source), ": none of its weights is for this model; is it of the same family?")
    pipe.set_adapters(names, [strength for _, strength in loras])


def _place_of(source: str) -> dict[str, str]:
    """Where `load_lora_weights` finds a LoRA: a file or folder, else a model of the hub with the name of its file."""
    from huggingface_hub import constants, snapshot_download

    path = Path(source).expanduser()
    repo, file = repo_and_file(source)
    place = str(path)
    if not path.exists():
        # Offline, diffusers does not look for the file of a repository by itself; in a folder it does.
        place = snapshot_download(repo, local_files_only=True) if constants.HF_HUB_OFFLINE else repo
    return {"pretrained_model_name_or_path_or_dict": place} | ({"weight_name": file} if file else {})


def make_scheduler(name: str, own: Any, steered: bool = False) -> Any:
    """The scheduler that a name of `read_sampler` stands for, of the configuration of a model's own one.

    Raises ConfigError where diffusers has none of this name, or where it is not for models of this kind; with `steered`
    PipelineError, where it lacks a library with which it could not be steered either.
    """
    import diffusers

    from .schedulers import kind_of

    sampler = read_sampler(name)
    kind = getattr(diffusers, sampler.kind, None)
    if kind is None:
        raise ConfigError(f"{name!r}: diffusers has no class of this name; as DDIMScheduler")
    flow = type(own).__name__.startswith("FlowMatch") or bool(own.config.get("use_flow_sigmas"))
    if kind is not type(own) and flow != kind.__name__.startswith("FlowMatch"):
        trained = "flow matching" if flow else "noise prediction"
        raise ConfigError(
            f"{name!r}: {kind.__name__} is not for this model, which is trained by {trained} and comes with "
            f"{type(own).__name__}; leave it out"
        )
    try:
        return kind.from_config(own.config, **sampler.options)
    except (ImportError, ValueError, NotImplementedError) as error:
        if steered and isinstance(error, ImportError):
            with suppress(AttributeError):  # an object without a configuration: its class alone may tell
                kind_of(object.__new__(kind))
        raise ConfigError(f"{name!r}: cannot be made ({' '.join(str(error).split())})") from error


@contextmanager
def variant(
    pipe: Any, unet: str | None = None, loras: Sequence[tuple[str, float]] = (), scheduler: str | None = None
) -> Iterator[Any]:
    """A pipeline of the same components with another UNet or sampler, and LoRAs inside; the given one is as it was afterwards."""
    made = pipe if unet is None else _with(pipe, unet=load_unet(unet, pipe))
    own = made.scheduler
    try:
        if scheduler is not None:
            made.register_modules(scheduler=make_scheduler(scheduler, own))
        if loras:
            load_loras(made, loras)
        yield made
    finally:
        if loras and hasattr(made, "unload_lora_weights"):
            made.unload_lora_weights()
        if made.scheduler is not own:
            made.register_modules(scheduler=own)


def _with(pipe: Any, **components: Any) -> Any:
    """A pipeline object of the same class and settings that shares all components but those given."""
    takes = inspect.signature(type(pipe).__init__).parameters
    settings = {name: value for name, value in pipe.config.items() if name in takes and name not in pipe.components}
    made = type(pipe)(**{**pipe.components, **settings, **components})
    made.set_progress_bar_config(**getattr(pipe, "_progress_bar_config", {}))
    return made
