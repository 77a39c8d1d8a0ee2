"""Whether what a comparison names is there: models, LoRAs, rewards. Looked for before slow imports."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..bench.reading import defaults, located
from ..errors import ConfigError, DyMOError
from ..miniature import MINIATURE
from ..parts import Option, Part
from ..pipelines.variants import read_lora
from ..rewards.registry import OWN
from .sources import check_lora, check_model, check_reward, check_unet, text_width

Called = Callable[[str], str]
"""A key -> what the user calls it where it stands."""
_KEYS = {"model": "pipeline", "config": "pipeline_config"}
"""Options of other commands -> the keys that say the same in a plan; others have the same name."""


@contextmanager
def in_words_of_plan(called: Called, given: Container[str]) -> Iterator[None]:
    """Within it, an error says of the keys that are given what the user calls them there; others stay options."""

    def words(part: Part) -> str | None:
        if not isinstance(part, Option) or (key := _KEYS.get(part.name, part.name)) not in given:
            return None
        return called(key) if part.value is ... else f"{called(key)} {part.value}"

    try:
        yield
    except DyMOError as error:
        raise error.in_words(words) from error


def check_places(data: Mapping[str, Any], words: Mapping[str, str], where: str = "") -> None:
    """Look for everything that the data of a comparison names. Raises DyMOError.

    What is not of the right kind is left to `Comparison.read`. words: key -> what the user calls it; where: the file.
    """
    main, seen = data.get("pipeline", MINIATURE), set()
    for called, part in _parts(data, words, f"{where}: " if where else ""):
        pipeline = part.get("pipeline", main)
        if not isinstance(pipeline, str):
            continue
        with in_words_of_plan(called, part):
            if part is data or "pipeline" in part:
                _check_pipeline(pipeline, data, whole=part is data)
            if isinstance(unet := part.get("unet"), str) and unet not in seen:  # rows share them, and each asks the hub
                check_unet(unet)
                seen.add(unet)
            _check_loras(part.get("lora"), None if pipeline == MINIATURE else pipeline)
        given = {**defaults(pipeline == MINIATURE), **data} if part is data else part
        for key in ("reward", "metrics"):
            for name in _names(given.get(key)):
                if name in OWN:  # the rewards of packages are looked at with their import
                    check_reward(called(key), name)


def _parts(data: Mapping[str, Any], words: Mapping[str, str], where: str) -> Iterator[tuple[Called, Mapping[str, Any]]]:
    """The comparison itself, and each of its rows that says more than a method's name."""
    yield (lambda key: words.get(key, f"{where}{key}:")), data
    for name, row in _rows(data):
        yield (lambda key, name=name: f"{where}row {name}, {key}:"), row  # type: ignore[misc]


def _rows(data: Mapping[str, Any]) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """The rows that say more than a method's name, each with what it is called."""
    rows = data.get("rows")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, Mapping):
            yield row.get("name", row.get("method", "plain")), row


def _check_pipeline(pipeline: str, data: Mapping[str, Any], whole: bool) -> None:
    given = {key: data.get(key) if whole else None for key in ("variant", "revision")}
    if pipeline == MINIATURE:
        if wrong := next((key for key, value in given.items() if value is not None), None):
            raise ConfigError(Option(wrong, given[wrong]), " belongs to a hub id or a folder, and the pipeline is the miniature")
        if whole and (config := data.get("pipeline_config")) is not None and not any("pipeline" in part for _, part in _rows(data)):
            raise ConfigError(Option("config", config), " belongs to a .safetensors checkpoint, and the pipeline is the miniature")
        return
    config = data.get("pipeline_config") if whole or Path(pipeline).expanduser().is_file() else None
    check_model(pipeline, config, given["variant"], given["revision"])


def _check_loras(loras: Any, model: str | None) -> None:
    if not (found := _names(loras)):
        return
    width = text_width(model)
    for lora in found:
        try:
            source, _ = read_lora(lora)
        except ConfigError as error:
            raise ConfigError(Option("lora"), " ", error) from error
        check_lora(located(source), model, width)


def _names(value: Any) -> list[str]:
    """One name, a list of names, or a table of them with weights."""
    if isinstance(value, str):
        return [value]
    return [one for one in value if isinstance(one, str)] if isinstance(value, (Sequence, Mapping)) else []
