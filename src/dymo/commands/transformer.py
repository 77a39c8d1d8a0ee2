"""A transformer in the place of a model's own: from a folder, the hub, or one file, as they are made for other programs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, ModelWarning, PipelineError, first_line
from ..parts import Option
from ..pipelines.variants import repo_and_file
from . import hub
from .folders import few
from .sources import check_source
from .weight_files import SCALED, is_gguf, read_header

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

_PLACES = ["transformer/config.json", "config.json"]
_INSTEAD: dict[str, tuple[str | Option, ...]] = {
    "LoRA": ("a LoRA; give it with ", Option("lora")),
    "UNet": ("a UNet, and no transformer; give its folder with ", Option("unet")),
    "VAE": ("a VAE, and no transformer",),
    "text encoder": ("a text encoder, and no transformer",),
    "ControlNet": ("a ControlNet, and no transformer; use it from Python",),
    "LyCORIS": ("a LyCORIS, and no transformer",),
}


def check_transformer(value: str, model: str | None) -> None:
    """Whether a transformer for `model` (None: the miniature) is there, in a form that diffusers reads. Raises ConfigError."""
    said, path = Option("transformer", value), Path(value).expanduser()
    if model is None:
        raise ConfigError(said, " belongs to a model that has a transformer, and the miniature has a UNet: name one by ", Option("model"))
    repo, name = (value, "") if path.exists() else repo_and_file(value)
    check_source(Option("transformer", repo), repo, [name] if name else _PLACES, "transformer")
    file = path if path.is_file() else None
    if name and (folder := hub.downloaded(repo, [name])):
        file = folder / name
    if (name or str(file or "")).endswith(".gguf") and find_spec("gguf") is None:
        raise ConfigError(said, ": GGUF files need gguf: pip install 'dymo-diffusion[quantized]'")
    if file is None or is_gguf(file):
        return
    header = read_header(said, file)
    if header.role in _INSTEAD:
        raise ConfigError(said, ": ", *_INSTEAD[header.role])
    if header.channels is not None:
        raise ConfigError(said, ": a checkpoint with a UNet, and no transformer; give it with ", Option("model"))
    if scaled := [tensor for tensor in header.shapes if tensor.endswith(SCALED)]:
        raise ConfigError(
            said, f": its weights have scales of their own ({few(scaled)}), which diffusers leaves out; name one in bfloat16, in float8 "
            "without scales, or in GGUF"
        )


def load_transformer(
    source: str, index: Mapping[str, Any], place: str, dtype: torch.dtype, revision: str | None = None
) -> Any:
    """The transformer of a folder, hub id or file, of the class that a pipeline's index names, computing in `dtype`.

    place: the pipeline's folder or hub id, whose configuration a file gets; revision: of it. Raises ConfigError where the pipeline has
    no transformer, PipelineError where the weights are not those of its.
    """
    import diffusers

    said = Option("transformer", source)
    library, name = index.get("transformer") or ("", "")
    kind = getattr(diffusers, name, None) if library == "diffusers" else None
    if kind is None:
        instead = ("give another UNet with ", Option("unet")) if "unet" in index else ("leave it out",)
        raise ConfigError(said, ": the model has no transformer of diffusers; ", *instead)
    try:
        made = _loaded(source, kind, place, dtype, revision)
    except PipelineError:
        raise
    except NotImplementedError as error:  # torch moves no weight that has no numbers
        raise PipelineError(said, f": lacks weights of this model's {name}; name one of the same model") from error
    except Exception as error:  # the loaders raise whatever a wrong file makes them raise
        logger.debug("the loader's own error", exc_info=True)
        raise PipelineError(said, f": cannot be loaded as {name} ({first_line(error)}); is it of this model's family?") from error
    if empty := [weight for weight, value in made.named_parameters() if value.is_meta]:
        raise PipelineError(said, f": lacks weights of this model's {name} ({few(empty)}); name one of the same model")
    return made


def _loaded(source: str, kind: Any, place: str, dtype: torch.dtype, revision: str | None) -> Any:
    from huggingface_hub import hf_hub_download

    path = Path(source).expanduser()
    repo, name = (source, "") if path.exists() else repo_and_file(source)
    if name:
        path = Path(hf_hub_download(repo, name))
    if path.is_file():
        return _of_file(source, path, kind, place, dtype, revision)
    folder = str(path) if path.exists() else source
    try:
        return kind.from_pretrained(folder, subfolder="transformer", dtype=dtype)
    except OSError:  # of the transformer alone
        return kind.from_pretrained(folder, dtype=dtype)


def _of_file(source: str, path: Path, kind: Any, place: str, dtype: torch.dtype, revision: str | None) -> Any:
    """A ModelWarning names weights for which the model has no place: diffusers says of these in its log alone."""
    import diffusers

    said = Option("transformer", source)
    if not hasattr(kind, "from_single_file"):
        raise PipelineError(said, f": diffusers reads no {kind.__name__} from one file; give its folder or a hub id")
    more = {"quantization_config": diffusers.GGUFQuantizationConfig(compute_dtype=dtype)} if is_gguf(path) else {}
    with _heard("diffusers.loaders.single_file_model") as heard:
        made = kind.from_single_file(str(path), config=place, subfolder="transformer", config_revision=revision, dtype=dtype, **more)
    if unused := [text.partition("\n")[2].strip(" []'") for text in heard if "were not used" in text]:
        warnings.warn(ModelWarning(said, f": of the file these weights have no place in {kind.__name__}: {unused[0]:.200}"), stacklevel=5)
    return made


@contextmanager
def _heard(name: str) -> Iterator[list[str]]:
    """The warnings of a logger, in the place of its writing them down."""
    log, found = logging.getLogger(name), list[str]()

    class Hears(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    handler, before = Hears(logging.WARNING), (log.level, log.propagate)
    log.addHandler(handler)
    log.setLevel(logging.WARNING)
    log.propagate = False
    try:
        yield found
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]
