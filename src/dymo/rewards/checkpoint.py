"""Weights out of a file, all of them or none: found, read without running code, compared by name, put in place."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..errors import RewardError
from ..parts import OfReward, Where

Module = TypeVar("Module", bound=nn.Module)
State = Mapping[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]

# What old files hold beside the parameters: computed, never learnt.
_COMPUTED = ("position_ids", "attn_mask")
_SHOWN = 6


def find_file(source: str | Path, file: str, name: str) -> Path:
    """The weight file of a reward: `source` itself, `file` in the folder `source`, or `file` of the hub id `source`.

    A safetensors file of the same stem is preferred in a folder. Raises RewardError where there is none.
    """
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir():
        for candidate in (path / Path(file).with_suffix(".safetensors").name, path / file):
            if candidate.is_file():
                return candidate
        there = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "nothing"
        raise RewardError(f"{name}: no {file} in the folder {path} (there: {there}); give the file, or its folder")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(str(source), file))
    except (OSError, ValueError) as error:
        raise RewardError(
            f"{name}: cannot fetch {file} of {str(source)!r}: {reason(error)}; give the path of the file", Where(" with ", OfReward("source"))
        ) from error


def read_weights(path: str | Path, under: str | None = None) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a pickle that is opened with `weights_only=True`.

    under: the key below which the file keeps them, where it does. Raises RewardError on any other content.
    """
    path = Path(path)
    try:
        if path.stat().st_size == 0:
            raise EOFError("the file is empty")
        safe = path.suffix == ".safetensors"
        found: Any = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises anything
        known = isinstance(error, (OSError, EOFError, RuntimeError, SafetensorError, pickle.UnpicklingError))
        why = reason(error) if known else "it is no file of tensors"
        read = "only safetensors, or a torch file of plain tensors, is read"
        raise RewardError(f"cannot read weights from {path}: {why}; {read}") from error
    if isinstance(found, dict) and under in found:
        found = found[under]
    if not isinstance(found, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items()):
        raise RewardError(f"{path} does not hold a flat table of named tensors: it cannot be these weights")
    return found


def read_config(path: Path, name: str) -> dict[str, Any]:
    """The JSON object in a file. Raises RewardError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RewardError(f"{name}: cannot read {path}: {reason(error)}") from error
    if not isinstance(found, dict):
        raise RewardError(f"{name}: {path} holds {found!r:.40}, not an object of settings")
    return found


def reason(error: BaseException) -> str:
    """An error of another library in a line, without torch's advice to switch `weights_only` off."""
    text = str(error)
    if isinstance(error, pickle.UnpicklingError):
        beside = re.search(r"(?:GLOBAL|[Uu]nsupported class) ([A-Za-z_]\w*(?:\.\w+)+)", text)
        return f"it holds {beside[1]} beside tensors" if beside else "it is no file of tensors"
    # An explanation follows that is the same for every file.
    line = next((line.strip() for line in text.splitlines() if line.strip()), "").partition(". This is an internal")[0].removesuffix(".")
    return line if " " in line else f"{type(error).__name__} {line}".strip()


def told(missing: Iterable[str], unexpected: Iterable[str], misshaped: Iterable[str]) -> str:
    """How names and shapes of a file differ from those expected, in a line; "" where they do not."""
    kinds = {"missing": sorted(missing), "unexpected": sorted(unexpected), "of another shape": sorted(misshaped)}
    few = {kind: ", ".join(names[:_SHOWN]) for kind, names in kinds.items()}
    few |= {k: f"{few[k]} and {len(names) - _SHOWN} more" for k, names in kinds.items() if len(names) > _SHOWN}
    return "; ".join(f"{len(names)} {kind}: {few[kind]}" for kind, names in kinds.items() if names)


def fitting(expected: Shapes, state: State, name: str, optional: Iterable[str] = ()) -> dict[str, Tensor]:
    """What `state` holds of a layout, after everything computed and `optional` (prefixes) is left out.

    Raises RewardError with the difference, in the file's own names, where that is not the layout exactly.
    """
    beside = tuple(optional)
    kept = {key: value for key, value in state.items() if not (key.endswith(_COMPUTED) or key.startswith(beside))}
    found = shapes(kept)
    other = [f"{key} {found[key]}, expected {own}" for key, own in expected.items() if found.get(key, own) != own]
    if difference := told(expected.keys() - found, found.keys() - expected, other):
        raise RewardError(f"{name}: the weights do not fit: {difference}{_hint(expected, kept)}")
    return kept


def shapes(state: State) -> dict[str, tuple[int, ...]]:
    """Name -> shape."""
    return {name: tuple(value.shape) for name, value in state.items()}


def hollow(build: Callable[[], Module]) -> Module:
    """The module that `build` makes, its parameters without memory (buffers have theirs): to be filled by `put`."""
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=False):
        return build()


def put(module: Module, state: State, dtype: torch.dtype | None = None) -> Module:
    """`module` with the tensors of `state`, which has exactly its names, as parameters; frozen, in eval mode.

    dtype None: as the file has the bulk of it (a model in two precisions could not be run).
    """
    if dtype is None:
        dtype = max((value for value in state.values() if value.is_floating_point()), key=Tensor.numel).dtype
    module.load_state_dict({key: value.to(dtype) for key, value in state.items()}, strict=True, assign=True)
    return module.eval().requires_grad_(False)


def from_state(
    build: Callable[[], Module], state: State, name: str, dtype: torch.dtype | None = None,
    published: Callable[[str], str] = str, optional: Iterable[str] = (),
) -> Module:  # fmt: skip
    """The module that `build` makes with the weights of a file, frozen.

    published: the module's name of a parameter -> the file's; optional: prefixes of the file's names that may be left
    out. Raises RewardError with the difference, in the file's own names, where the two do not fit exactly.
    """
    module = hollow(build)
    layout = shapes(module.state_dict())
    found = fitting({published(own): shape for own, shape in layout.items()}, state, name, optional)
    return put(module, {own: found[published(own)] for own in layout}, dtype)


def save_folder(module: nn.Module, folder: str | Path, config: Mapping[str, Any]) -> None:
    """config.json and model.safetensors, in the module's own names."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {"_class_name": type(module).__name__, **config}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file({k: v.contiguous() for k, v in module.state_dict().items()}, folder / "model.safetensors")


def load_folder(build: Callable[..., Module], place: str | Path, name: str, dtype: torch.dtype | None = None) -> Module:
    """`build(**config)` with the weights, of what `save_folder` wrote. Raises RewardError."""
    path = Path(place) / "config.json"
    config = {key: value for key, value in read_config(path, name).items() if key != "_class_name"}
    try:
        return from_state(lambda: build(**config), read_weights(path.with_name("model.safetensors")), name, dtype)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise RewardError(f"{name}: {path} is not of this model: {reason(error)}") from error


def _hint(expected: Shapes, state: State) -> str:
    """What may be meant where all names differ in one prefix."""
    for one, other, advice in ((expected, state, "lacks"), (state, expected, "has")):
        prefix = next(iter(one), "").partition(".")[0] + "."
        bare = {key.removeprefix(prefix) for key in one if key.startswith(prefix)}
        if bare and len(bare & set(other)) > len(other) / 2:
            return f" (the file {advice} the prefix {prefix!r})"
    return ""
