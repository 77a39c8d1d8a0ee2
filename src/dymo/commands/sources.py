"""What an option names: a file or folder, a model of the hub, a parser. Looked for before slow imports."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..pipelines.variants import first_line
from .schema import Parsing

if TYPE_CHECKING:
    from ..prompt import Parser

logger = logging.getLogger(__name__)

HUB_SECONDS = 1.5
"""How long the hub may take to say whether it has a model; $HF_HUB_ETAG_TIMEOUT, where set, in its place."""
_MOVED = {
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "runwayml/stable-diffusion-inpainting": "stable-diffusion-v1-5/stable-diffusion-inpainting",
}
_PICKLES = (".ckpt", ".pt", ".pth", ".bin")
# Prefix of a checkpoint's keys -> the pipeline's class in diffusers, and where its configuration and tokenizers are.
_FAMILIES = {
    "conditioner.embedders.1.": ("StableDiffusionXLPipeline", "stabilityai/stable-diffusion-xl-base-1.0"),
    "cond_stage_model.transformer.": ("StableDiffusionPipeline", "stable-diffusion-v1-5/stable-diffusion-v1-5"),
    "cond_stage_model.model.": ("StableDiffusionPipeline", "stabilityai/stable-diffusion-2-1"),
}


def check_source(option: str, value: str, files: Sequence[str] = (), what: str = "model", remedy: str = "") -> None:
    """Whether a path is there, or the hub (else the cache of what was downloaded) has a model of this id.

    files: of which a folder, or the model's repository, must hold one. Takes `HUB_SECONDS` at most; where the hub cannot
    be reached and the model was downloaded before, the process goes on offline. Raises ConfigError with the remedy.
    """
    path = Path(value).expanduser()
    said = f"{option} {value}"
    if path.is_dir() and files and not any((path / file).exists() for file in files):
        there = ", ".join(sorted(p.name for p in path.iterdir())[:6]) or "nothing"
        lacks = f"this folder has no {' and no '.join(files)} (but {there})"
        raise ConfigError(f"{said}: {lacks}; name the {what}'s folder")
    if path.exists():
        return
    parts = value.split("/")
    if len(parts) != 2 or not all(parts) or value[0] in ".~" or path.suffix in (".safetensors", *_PICKLES):
        raise ConfigError(f"{said}: there is no such file or folder, and a hub id has the form OWNER/NAME")
    from huggingface_hub import constants

    held = _downloaded(value, files)
    if not held and value in _MOVED:
        raise ConfigError(f"{said}: it is gone from the hub; its new id is {_MOVED[value]}")
    problem = _hub_says(value)
    if problem is None:
        return
    if held:  # go on offline, which spares the libraries their minute of retries
        os.environ["HF_HUB_OFFLINE"], constants.HF_HUB_OFFLINE = "1", True
        logger.info("%s %s: the hub %s; the copy downloaded before is used", option, value, problem)
        return
    remedy = remedy or f"name a local folder of the {what}"
    raise ConfigError(f"{said}: neither a folder here nor downloaded before, and the hub {problem}; {remedy}")


def check_model(value: str, config: str | None) -> None:
    """`check_source` of --model, a checkpoint in a single file and its --config included. Raises ConfigError."""
    if not is_single_file(value):
        if config is not None:
            raise ConfigError(f"--config {config} belongs to a .safetensors checkpoint, and --model {value} is none")
        check_source("--model", value, ["model_index.json"], "pipeline")
        return
    family, default = family_of(value)
    try:
        check_source("--config", config or default, ["model_index.json"], "pipeline")
    except ConfigError as error:
        if config is not None:
            raise
        raise ConfigError(
            f"--model {value}: the configuration and tokenizers of a {family} are not in the file, and {default} cannot be "
            "had from the hub; add --config FOLDER, a diffusers folder of the same family"
        ) from error


def is_single_file(value: str) -> bool:
    """Whether --model names a checkpoint file. Raises ConfigError on one that could run code when it is read."""
    return _is_safetensors("--model", value, "checkpoints")


def _is_safetensors(option: str, value: str, what: str) -> bool:
    path = Path(value).expanduser()
    if path.suffix in _PICKLES and path.is_file():
        raise ConfigError(f"{option} {value}: only .safetensors {what} are read, a {path.suffix} file can run code")
    return path.is_file()


def family_of(value: str) -> tuple[str, str]:
    """A checkpoint's pipeline class in diffusers and the hub id of its configuration. Raises ConfigError."""
    keys = safetensors_keys("--model", value)
    for prefix, family in _FAMILIES.items():
        if any(key.startswith(prefix) for key in keys):
            return family
    if any("lora" in key for key in keys):
        raise ConfigError(f"--model {value}: these are LoRA weights; give them with --lora, beside a --model")
    raise ConfigError(
        f"--model {value}: not a checkpoint of SD1.5, SD2 or SDXL with its text encoders "
        f"(keys as {', '.join(keys[:3])}); give a diffusers folder instead"
    )


def check_lora(source: str) -> None:
    """Whether a LoRA is there and readable. Raises ConfigError."""
    path = Path(source).expanduser()
    if _is_safetensors("--lora", source, "files"):
        if not any("lora" in key or "hada" in key for key in safetensors_keys("--lora", source)):
            raise ConfigError(f"--lora {source}: no LoRA weights in this file; is it a checkpoint for --model?")
    elif path.is_dir() and not any(path.glob("*.safetensors")):
        raise ConfigError(f"--lora {source}: no .safetensors file in this folder")
    check_source("--lora", source, what="LoRA")


def safetensors_keys(option: str, value: str) -> list[str]:
    """The names of the tensors in a file, of which only the header is read. Raises ConfigError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(Path(value).expanduser(), framework="numpy") as file:
            return list(file.keys())
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{option} {value}: cannot be read as safetensors ({error}); is it whole?") from error


def _downloaded(repo: str, files: Sequence[str]) -> bool:
    """Whether one of the files (of any, where none is named) is in the hub's cache."""
    from huggingface_hub import constants, try_to_load_from_cache

    if files:
        return any(isinstance(try_to_load_from_cache(repo, file), str) for file in files)
    return any((Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}" / "snapshots").glob("*"))


def _hub_says(repo: str) -> str | None:
    """Why the model cannot be had from the hub now, in words after "the hub"; None where it can."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        return "is not asked (HF_HUB_OFFLINE is set; unset it to download)"
    seconds = float(os.environ.get("HF_HUB_ETAG_TIMEOUT", HUB_SECONDS))
    found: dict[str, Any] = {}

    def ask() -> None:
        try:
            HfApi().model_info(repo, timeout=seconds)
            found["problem"] = None
        except (RepositoryNotFoundError, HFValidationError):
            found["problem"] = "has no model of this name (or it is private: run hf auth login)"
        except HfHubHTTPError as error:
            found["problem"] = f"answers {str(error).splitlines()[0]}"
        except Exception as error:  # whatever the network's libraries raise
            found["problem"] = f"cannot be reached ({str(error) or type(error).__name__})"

    # In a thread: the look-up of the hub's name heeds no timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    slow = f"does not answer within {seconds:g} s (with a slow network set HF_HUB_ETAG_TIMEOUT=10)"
    return found.get("problem", slow)


def check_parser(settings: Parsing) -> dict[str, Any]:
    """The settings of the parser that were given. Raises ConfigError on an unknown name, or where one is not its own."""
    from ..prompt import PARSERS

    names = ("parser_model", "base_url", "on_failure", "concurrency")
    given = {name: value for name in names if (value := getattr(settings, name, None)) is not None}
    if settings.parser not in PARSERS:
        raise ConfigError(f"--parser {settings.parser!r}: choose one of {', '.join(PARSERS)}")
    if settings.parser == "spacy" and given:
        said = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ConfigError(f"--parser spacy asks no model: leave out {said}")
    if settings.parser == "transformers" and settings.parser_model is None:
        raise ConfigError("--parser transformers needs --parser-model ID_OR_PATH, of an instruct model")
    return {name.removeprefix("parser_"): value for name, value in given.items()}


def load_parser(settings: Parsing) -> Parser:
    """Raises ConfigError where an option does not belong to the parser, or it cannot be made."""
    from .. import prompt

    given = check_parser(settings)
    if settings.parser == "transformers":
        check_source("--parser-model", given["model"], ["config.json"])
    return prompt.load_parser(settings.parser, **given)


def load_tokenizer(name: str) -> Any:
    """A tokenizer by hub id, by folder (also of a whole diffusers pipeline), or "miniature". Raises ConfigError."""
    from transformers import AutoTokenizer

    from ..miniature import WEIGHTS

    folder = WEIGHTS / "pipeline" if name == "miniature" else Path(name).expanduser()
    inner = folder / "tokenizer"
    if not folder.is_dir():
        check_source("--tokenizer", name)
    place = inner if inner.is_dir() else folder if folder.is_dir() else name
    try:
        return AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, ImportError, KeyError) as error:
        said = f"--tokenizer {name}: cannot be loaded ({first_line(error)})"
        raise ConfigError(f"{said}; give miniature, a hub id, or a folder") from error
