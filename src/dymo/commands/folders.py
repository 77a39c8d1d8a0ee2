"""What a folder, or a repository of the hub, holds: a pipeline that is whole, or something else that has a name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..parts import Option, Part
from .weight_files import PICKLES, read_header

INDEX = "model_index.json"
LORA_FILE = "pytorch_lora_weights.safetensors"
"""What diffusers calls the LoRA that it saves."""
_PART = r"unet|transformer|vae|text_encoder(?:_\d)?"
_MODELS = re.compile(rf"({_PART})/([^/]+)(\.safetensors|\.bin)")
_SHARD = re.compile(r"-\d{5}-of-\d{5}")
_OPTIONS = {"UNet2DConditionModel": Option("unet"), "AutoencoderTiny": Option("preview_vae")}
_TRANSFORMER = re.compile(r".*Transformer(2D|3D)?(Model)?")
_CHECKPOINTS = ("checkpoints", "models/checkpoints", "Stable-diffusion", "models/Stable-diffusion")
_BESIDE = ("scheduler", "optimizer", "checkpoint")
"""Parts of names that diffusers does not take for a LoRA's."""
SHOWN = 6


def names_in(folder: Path) -> list[str]:
    """The files of a folder and of the folders in it, as a repository lists them: "unet/config.json"."""
    return sorted(
        path.relative_to(folder).as_posix() for deep in ("*", "*/*") for path in folder.glob(deep) if path.is_file()
    )


def few(names: Iterable[str]) -> str:
    """The first names, or "nothing"."""
    listed = list(names)
    return ", ".join(listed[:SHOWN]) + (", ..." if len(listed) > SHOWN else "") or "nothing"


def weights_in(names: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """The weight files of a pipeline's models: model -> variant ("" for the plain ones) -> files, of the names of all."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in names:
        if match := _MODELS.fullmatch(name):
            variant = _SHARD.sub("", match[2]).partition(".")[2]
            found.setdefault(match[1], {}).setdefault(variant, []).append(name)
    return found


def check_weights(said: object, names: Iterable[str], variant: str | None) -> None:
    """Whether the models of a pipeline have weights of the variant, by the names of all files. Raises ConfigError.

    As in diffusers, a model without files of the variant has its plain ones.
    """
    found = weights_in(names)
    variants = sorted({one for of in found.values() for one in of if one})
    there = f"it has {', '.join(variants)}" if variants else "it has none"
    if variant is not None and variant not in variants:
        raise ConfigError(
            said, ": no weights of ", Option("variant", variant), f" are there ({there}); leave it out, or name another"
        )
    for model, of in found.items():
        if not of.keys() & {"", variant}:
            raise ConfigError(said, f": the weights in {model} are of a variant alone; add ", Option("variant", sorted(of)[0]))


def check_pipeline_folder(
    said: object, folder: Path, variant: str | None = None, weights: bool = True, without: str = ""
) -> None:
    """Whether a folder holds a pipeline as `save_pretrained` writes it. Raises ConfigError that says what it holds instead.

    weights: False for a folder of which only the configuration and the tokenizers are wanted; without: the model of it that may have none.
    """
    if not (folder / INDEX).is_file():
        raise ConfigError(said, f": this folder has no {INDEX} ", _instead(folder))
    parts = [name for name, kind in read_json(said, folder / INDEX).items() if _is_component(kind)]
    if lacking := [
        name for name in parts if not (folder / name).is_dir() and name not in ("safety_checker", "feature_extractor")
    ]:
        raise ConfigError(
            said, f": the folder lacks {', '.join(lacking)}, which its {INDEX} names; copy or download it again"
        )
    if not weights:
        return
    names = names_in(folder)
    models = [name for name in parts if name != without and re.fullmatch(_PART, name)]
    if empty := [model for model in models if model not in weights_in(names)]:
        raise ConfigError(said, f": there are no weights in {', '.join(empty)}; copy or download the folder again")
    check_weights(said, names, variant)


def read_json(said: object, path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises ConfigError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(said, f": {path.name} cannot be read ({error}); download it again") from error
    if not isinstance(found, dict):
        raise ConfigError(said, f": {path.name} holds no settings; download it again")
    return found


def lora_in(said: object, names: Iterable[str], whole: str) -> str:
    """The one LoRA among the files of a folder or repository, as diffusers chooses it. Raises ConfigError.

    whole: how a file of it is named, as "FOLDER/{}".
    """
    names = list(names)
    if INDEX in names:
        raise ConfigError(said, ": a pipeline and no LoRA; give it with ", Option("model"))
    files = [name for name in names if name.endswith(".safetensors") and not any(part in name for part in _BESIDE)]
    named = [name for name in files if name.endswith(LORA_FILE)]
    if not files:
        raise ConfigError(said, f": no .safetensors file in it (but {few(names)}); name a LoRA")
    if len(named or files) > 1:
        raise ConfigError(said, f": holds several LoRAs ({few(files)}); name one, as {whole.format(files[0])}")
    return (named or files)[0]


def _is_component(kind: Any) -> bool:
    return isinstance(kind, list) and len(kind) == 2 and isinstance(kind[1], str)


def _instead(folder: Path) -> str | tuple[str | Part, ...]:
    """What a folder without a pipeline looks like, in brackets, and what to do."""
    entries = sorted(folder.iterdir())
    if not entries:
        return "(it is empty); name the pipeline's folder"
    if inner := next((entry for entry in entries if (entry / INDEX).is_file()), None):
        return f"(a folder in it has one); name {inner}"
    if (folder / "snapshots").is_dir() and folder.name.startswith("models--"):
        return f"(it is the hub's cache); name the id, {folder.name.removeprefix('models--').replace('--', '/')}"
    for place in _CHECKPOINTS:
        if (folder / place).is_dir():
            files = [path for path in sorted((folder / place).rglob("*.safetensors")) if path.is_file()]
            one = files[0] if files else folder / place / "FILE.safetensors"
            return f"(it looks like the models of ComfyUI or a web UI); name a checkpoint in it, as {one}"
    if (folder / "adapter_config.json").is_file() or (folder / LORA_FILE).is_file():
        return "(it looks like a LoRA); give it with ", Option("lora"), ", beside a ", Option("model")
    if (folder / "config.json").is_file():
        return _component(folder)
    files = [entry for entry in entries if entry.suffix == ".safetensors" and entry.is_file()]
    roles = {file: _role(file) for file in files}
    if checkpoint := next((file for file, role in roles.items() if role == "checkpoint"), None):
        return f"(it holds checkpoints in single files); name one, as {checkpoint}"
    if files and set(roles.values()) <= {"LoRA", "LyCORIS"}:
        return "(it holds LoRAs); give one with ", Option("lora", files[0]), ", beside a ", Option("model")
    if any(entry.suffix in PICKLES for entry in entries):
        return f"(but {few(entry.name for entry in entries)}), and only .safetensors files are read; name the pipeline's folder"
    return f"(but {few(entry.name for entry in entries)}); name the pipeline's folder"


def _component(folder: Path) -> str | tuple[str | Part, ...]:
    """The same of a folder with a config.json, which is a model and no pipeline."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = config.get("_class_name") or (config.get("architectures") or [""])[0] or config.get("model_type", "")
    except (OSError, ValueError, AttributeError, IndexError):
        kind = ""
    if (folder.parent / INDEX).is_file():
        return f"(it is one part of a pipeline, {kind or 'a model'}); name the whole, {folder.parent}"
    what = f"(it is a single model, {kind}, and no pipeline)" if kind else "(it is a single model and no pipeline)"
    option = _OPTIONS.get(kind) or (Option("transformer") if _TRANSFORMER.fullmatch(kind) else None)
    if option is not None:
        return f"{what}; give it with ", option, ", beside a ", Option("model")
    return f"{what}; name the folder of a whole pipeline"


def _role(file: Path) -> str:
    try:
        return read_header("", file).role
    except ConfigError:
        return "unknown"
