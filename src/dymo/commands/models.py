"""The pipeline that the user named, ready on its device."""

from __future__ import annotations

import inspect
import logging
import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError, ModelWarning, PipelineError, first_line
from ..miniature import WEIGHTS
from ..parts import Option
from ..pipelines.sampler_names import read_sampler
from ..pipelines.variants import load_loras, load_unet
from .folders import names_in, weights_in
from .sources import SD2, SD2_BASE, Single, single_file
from .transformer import load_transformer
from .weight_files import UNET, is_gguf, read_header

logger = logging.getLogger(__name__)

DTYPES = ("float32", "float16", "bfloat16")
AUTO = "auto"
"""The precision that the weights of the denoiser have in their files."""
OPTIONS = ("guidance_scale", "height", "width", "negative_prompt")
"""Arguments of a pipeline's call that have an option of the same name."""
_WORDS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def check_choices(scheduler: str | None, dtype: str | None, auto: bool = False) -> None:
    """Raises ConfigError on an unknown --scheduler or --dtype; auto: whether the latter may be `AUTO`."""
    if scheduler is not None:
        try:
            read_sampler(scheduler)
        except ConfigError as error:
            raise ConfigError(Option("scheduler"), " ", error) from error
    known = (*DTYPES, AUTO) if auto else DTYPES
    if dtype is not None and dtype not in known:
        raise ConfigError(Option("dtype", repr(dtype)), f": choose one of {', '.join(known)}")


def check_offload(offload: str, device: str) -> None:
    """Raises ConfigError where there is nowhere to bring models to: on a CPU they are where they are needed."""
    if offload != "none" and device.startswith("cpu"):
        raise ConfigError(Option("offload", offload), ": needs an accelerator, and the device is the CPU; leave it out")


def choose_device(device: str | None) -> str:
    """The device asked for, else the best there is. Raises ConfigError where it is not there."""
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=device).item()  # read back: "meta" computes no values
    except (RuntimeError, AssertionError, ImportError) as error:
        why = first_line(error).partition(". ")[0]
        raise ConfigError(Option("device", repr(device)), f": cannot be used ({why}); choose one of {', '.join(_devices())}") from error
    return device


def _devices() -> list[str]:
    """Those of this machine that torch computes on."""
    import torch

    kind = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return ["cpu", *(f"{kind.type}:{i}" for i in range(torch.accelerator.device_count()) if kind is not None)]


def load_pipeline(
    model: str | None,
    scheduler: str | None = None,
    dtype: str | None = None,
    device: str = "cpu",
    *,
    config: str | None = None,
    variant: str | None = None,
    revision: str | None = None,
    loras: Sequence[tuple[str, float]] = (),
    unet: str | None = None,
    transformer: str | None = None,
    offload: str = "none",
    steered: bool = False,
    call: Mapping[str, Any] | None = None,
    withheld: Collection[str] = (),
) -> Any:
    """The miniature (model None), a folder, a hub id or a .safetensors checkpoint; without a progress bar of its own.

    On `device`, or with its models (offload "model") or layers ("sequential") brought there one after the other.
    dtype None: on CUDA bfloat16 for a model with a transformer, float16 for one with a UNet other than the miniature; else float32.
    config: the pipeline whose configuration and tokenizers a checkpoint gets; variant, revision: of a hub id's files; loras: sources with
    their strengths; unet, transformer: in the place of the model's own; steered: refuse a scheduler that cannot be, before weights are
    read; call: likewise arguments that the pipeline's call does not have; withheld: the arguments that the command has a say in itself.
    Raises PipelineError or ConfigError where something cannot be loaded.
    """
    import torch

    import dymo

    check_offload(offload, device)
    single = _single(model)
    place = _place(model, config, single)
    index = _index(place, revision)
    kind = _kind(single, index)
    if call and kind is not None:
        _check_call(kind, call, withheld)
    own = _own_scheduler(place, revision, index)
    if own is not None:
        own = _chosen(_as_trained(own, single, config), scheduler, steered)
    if model is None:
        pipe = dymo.load_miniature()
        if dtype not in (None, AUTO):
            pipe = pipe.to(getattr(torch, str(dtype)))
    else:
        if dtype == AUTO:
            dtype = _precision(model, single, variant, revision, transformer)
        of_type = getattr(torch, dtype or _usual_precision(index, device))
        more = {"dtype": of_type} | ({} if own is None else {"scheduler": own})
        if transformer is not None:
            more["transformer"] = load_transformer(transformer, index, os.path.expanduser(place), of_type, revision)
        pipe = _load(model, single, place, variant, revision, more, index)
    if scheduler is not None and pipe.scheduler is not own:
        pipe.register_modules(scheduler=_chosen(pipe.scheduler, scheduler, steered) if own is None else own)
    if unet is not None:
        pipe.register_modules(unet=load_unet(unet, pipe))
    if loras:
        load_loras(pipe, loras)
    if offload == "none":
        pipe = pipe.to(device)
    elif offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.enable_sequential_cpu_offload(device=device)
    pipe.set_progress_bar_config(disable=True)
    logger.info("%s from %s on %s, %s", type(pipe).__name__, model or "the package", device, pipe.dtype)
    return pipe


def _chosen(own: Any, name: str | None, steered: bool) -> Any:
    """A model's own scheduler, or the one of that name. Raises PipelineError where it has to be steered and cannot be."""
    from ..pipelines.schedulers import kind_of
    from ..pipelines.variants import make_scheduler

    try:
        made = own if name is None else make_scheduler(name, own, steered)
    except ConfigError as error:
        raise ConfigError(Option("scheduler"), " ", error) from error
    if steered:
        kind_of(made)
    return made


def _index(place: str, revision: str | None) -> dict[str, Any]:
    """The parts of a folder's or hub id's pipeline; {} where they cannot be read, of which the pipeline's loader says why."""
    import diffusers

    try:
        return diffusers.DiffusionPipeline.load_config(os.path.expanduser(place), revision=revision)
    except (OSError, ValueError, ImportError, TypeError):
        logger.debug("the pipeline's index cannot be read", exc_info=True)
        return {}


def _text_to_image(index: Mapping[str, Any]) -> type | None:
    """The pipeline's class, where it is one for text to image; of another kind diffusers loads another class."""
    import diffusers
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

    name = str(index.get("_class_name"))
    if not _has_relatives(index):
        return getattr(diffusers, name, None)
    return next((kind for kind in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values() if kind.__name__ == name), None)


def _has_relatives(index: Mapping[str, Any]) -> bool:
    """Whether diffusers knows, by its class's name, a pipeline's relatives for other tasks, of which that for text to image is loaded."""
    from diffusers.pipelines.auto_pipeline import SUPPORTED_TASKS_MAPPINGS

    return any(kind.__name__ == index.get("_class_name") for task in SUPPORTED_TASKS_MAPPINGS for kind in task.values())


def outline(model: str | None, config: str | None = None, revision: str | None = None) -> tuple[type | None, Any]:
    """The class and the own scheduler of the pipeline that `load_pipeline` would load; None where its configuration does not tell."""
    single = _single(model)
    place = _place(model, config, single)
    index = _index(place, revision)
    return _kind(single, index), _own_scheduler(place, revision, index)


def _single(model: str | None) -> Single | None:
    return single_file(model) if model is not None and Path(model).expanduser().is_file() else None


def _place(model: str | None, config: str | None, single: Single | None) -> str:
    """Where the configuration is: of a checkpoint in one file, elsewhere."""
    return str(WEIGHTS / "pipeline") if model is None else model if single is None else config or single.config


def _kind(single: Single | None, index: Mapping[str, Any]) -> type | None:
    import diffusers

    return getattr(diffusers, single.kind) if single is not None else _text_to_image(index)


def _check_call(kind: type, call: Mapping[str, Any], withheld: Collection[str]) -> None:
    """Raises ConfigError on an argument that the pipeline's call does not have, in the words of `dymo generate`."""
    from ..pipelines.checks import check_arguments

    for name, value in call.items():
        try:
            check_arguments(kind, {name: value}, withheld=withheld)
        except ConfigError as error:
            raise ConfigError(Option(name if name in OPTIONS else "pipeline_kwargs"), ": ", error) from error


def _own_scheduler(place: str, revision: str | None, index: Mapping[str, Any]) -> Any:
    """The scheduler that a folder or hub id comes with, which has no weights; None where its pipeline has none."""
    import diffusers

    try:
        found = index.get("scheduler")
        kind = getattr(diffusers, found[1], None) if found else None
        return kind and kind.from_pretrained(os.path.expanduser(place), subfolder="scheduler", revision=revision)
    except (OSError, ValueError, ImportError, TypeError):
        logger.debug("its scheduler cannot be read by itself: the pipeline's loader says why", exc_info=True)
        return None


def _as_trained(own: Any, single: Single | None, config: str | None) -> Any:
    """The scheduler with what a checkpoint in one file says of its training, where its family's configuration does not.

    An SDXL checkpoint that predicts v says so by a tensor's name, and by another that its noise ends at no signal.
    """
    if single is None:
        return own
    names = single.header.shapes
    if "v_pred" in names:
        snr = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"} if "ztsnr" in names else {}
        return type(own).from_config(own.config, prediction_type="v_prediction", **snr)
    if config is None and single.config == SD2:
        said = "this SD2 checkpoint is taken for one that predicts v, as those of 768 pixels; for one of 512 pixels add "
        warnings.warn(ModelWarning(said, Option("config", SD2_BASE)), stacklevel=2)
    return own


def _usual_precision(index: Mapping[str, Any], device: str) -> str:
    """The word of torch for the precision that a pipeline with this index is published for; transformers' activations leave float16."""
    if not device.startswith("cuda"):
        return "float32"
    return "bfloat16" if "transformer" in index else "float16"


def _precision(model: str, single: Single | None, variant: str | None, revision: str | None, transformer: str | None) -> str:
    """The word of torch for the precision of the denoiser's weights, by the header of their file. Raises ConfigError."""
    said = Option("dtype", AUTO), ": ", Option("model", model)
    own = Path(transformer).expanduser() if transformer is not None else None
    if own is not None and own.is_file():
        said = Option("dtype", AUTO), ": ", Option("transformer", transformer)
        found = "" if is_gguf(own) else read_header(said, own).precision()
    elif single is not None:
        found = single.header.precision(UNET)
    else:
        folder = Path(model).expanduser()
        if not folder.is_dir():
            import diffusers

            folder = Path(diffusers.DiffusionPipeline.download(model, variant=variant, revision=revision))
        there = weights_in(names_in(folder))
        of = there.get("unet") or there.get("transformer") or {}
        files = [name for name in of.get(variant or "", of.get("", [])) if name.endswith(".safetensors")]
        found = read_header(said, folder / files[0]).precision() if files else ""
    if found not in _WORDS:
        has = f"is in {found}" if found else "has no .safetensors to read it from"
        raise ConfigError(said, f" {has}; choose one of {', '.join(DTYPES)}")
    return _WORDS[found]


def _load(
    model: str,
    single: Single | None,
    place: str,
    variant: str | None,
    revision: str | None,
    more: dict[str, Any],
    index: Mapping[str, Any],
) -> Any:
    import diffusers

    path = os.path.expanduser(model)
    try:
        if single is not None:
            return getattr(diffusers, single.kind).from_single_file(path, config=os.path.expanduser(place), **more)
        more |= {name: given for name, given in (("variant", variant), ("revision", revision)) if given is not None}
        # Without an index the loader says why there is none.
        of_task = not index or _has_relatives(index)
        loader = diffusers.AutoPipelineForText2Image if of_task else diffusers.DiffusionPipeline
        return loader.from_pretrained(path, **more)
    except Exception as error:  # the loaders raise whatever a wrong file makes them raise
        logger.debug("the loader's own error", exc_info=True)
        raise PipelineError(
            Option("model", model), f": cannot be loaded ({first_line(error)}); give a diffusers folder, a hub id, or a checkpoint with the ",
            Option("config"), " of its family",
        ) from error


def load_preview_vae(name: str, like: Any) -> Any:
    """An AutoencoderTiny by folder or hub id, on the pipeline's device and precision. Raises PipelineError."""
    from ..pipelines.decode import load_preview

    try:
        return load_preview(name, like)
    except PipelineError as error:
        raise PipelineError(Option("preview_vae"), " ", error) from error


def own_steps(model: str) -> int:
    """The steps that a model's pipeline takes unless told, before it is loaded; 50 where its configuration does not tell."""
    kind, _ = outline(model)
    return (kind and call_default(kind, "num_inference_steps")) or 50


def call_default(pipe: Any, name: str) -> Any:
    """The default of a parameter of the call of a pipeline, or of its class; None where it has none."""
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
