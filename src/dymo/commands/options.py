"""The values of options, read and checked before any model is loaded."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import seeds
from ..bench.prompt_files import read_prompt_file
from ..config import MOST_STEPS, Config, preset
from ..errors import ConfigError, PromptError, did_you_mean
from ..parts import Option
from ..pipelines.size import check_side
from ..pipelines.variants import read_lora

if TYPE_CHECKING:
    from ..prompt.graph import SemanticGraph

OF_THE_RUN = {
    "prompt": "is the argument of the command",
    "num_inference_steps": "has an option of its own: --steps",
    "guidance_scale": "has an option of its own: --guidance-scale",
    "generator": "is made of the seed that the command is given",
    "num_images_per_prompt": "is one here: give several --seeds to dymo generate",
    "output_type": "is the command's: it writes files",
    "return_dict": "is the command's: it writes files",
}
"""Arguments of a pipeline's call that every command which generates has a say in itself, and which."""


def read_seeds(text: str) -> list[int]:
    """ "0-3,8" -> [0, 1, 2, 3, 8]; repeated seeds once. Raises ConfigError."""
    try:
        return seeds.read_seeds(text)
    except ConfigError as error:
        raise ConfigError("--seeds ", error) from error


def read_prompts(command: str, words: Sequence[str], file: Path | None = None) -> list[str]:
    """The prompts of the arguments and of a file, none of them empty. Raises PromptError, ConfigError.

    Arguments of one word side by side are a prompt that was not quoted.
    """
    if any(len(one.split()) == len(other.split()) == 1 for one, other in pairwise(words)):
        raise ConfigError(
            f'one prompt is one argument, in quotes: {command} "{" ".join(words)}"'
            + ("; for several prompts of one word: --file PROMPTS.txt" if command == "dymo generate" else "")
        )
    prompts = [*words, *(read_lines(file) if file is not None else [])]
    if not prompts:
        raise PromptError(f'no prompt: say what the image should show, as {command} "a red apple and a green car"')
    if broken := [prompt for prompt in prompts if not _encodable(prompt)]:
        raise PromptError(f"prompt {broken[0]!r}: its bytes are no UTF-8; give it in that encoding")
    if empty := [prompt for prompt in prompts if not prompt.strip()]:
        raise PromptError(f"empty prompt {empty[0]!r}: say what the image should show")
    return prompts


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_lines(file: Path) -> list[str]:
    """The prompts in a file of any kind that `dymo bench` reads. Raises ConfigError where there is none."""
    try:
        prompts = read_prompt_file(file)
    except ConfigError as error:
        raise ConfigError("--file ", error) from error
    if not prompts:
        raise ConfigError(f"--file {file}: holds no prompt; write one a line")
    return prompts


def check_miniature_words(prompt: str) -> None:
    """Raises PromptError on a prompt with words that the embedded miniature was not trained on."""
    from ..miniature.world import WORDS, unknown_words

    if prompt.strip() and not any(map(str.isalnum, prompt)):
        raise PromptError(f"prompt {prompt!r} has no words: say what the image should show")
    if unknown := unknown_words(prompt):
        raise PromptError(
            f"prompt {prompt!r}: the embedded miniature does not know {', '.join(map(repr, unknown))}"
            f"{did_you_mean(unknown[0].lower(), WORDS)}; `dymo demo --words` lists what it knows, and ", Option("model"),
            " names another model"
        )


def check_no_files(config: str | None, variant: str | None, revision: str | None) -> None:
    """Raises ConfigError where an option says which files of a model, and none is named."""
    if config is not None:
        raise ConfigError(f"--config {config} belongs to a .safetensors checkpoint: add --model FILE")
    for name, value in (("variant", variant), ("revision", revision)):
        if value is not None:
            raise ConfigError(f"--{name} {value} belongs to a hub id or a folder: add --model ID_OR_PATH")


def read_loras(texts: Sequence[str]) -> list[tuple[str, float]]:
    """ "a.safetensors:0.8" -> ("a.safetensors", 0.8); without a strength 1. Raises ConfigError."""
    try:
        return [read_lora(text) for text in texts]
    except ConfigError as error:
        raise ConfigError("--lora ", error) from error


def read_config(name: str, settings: Sequence[str], **more: Any) -> tuple[Config, dict[str, Any]]:
    """A preset's configuration, and the overrides read from "key=value" words. Values are JSON or a tuple of Python, else plain text.

    more: overrides that have options of their own; None where they are not given. Raises ConfigError on an unknown preset, setting or value.
    """
    overrides: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {setting!r}: give key=value, as --set recurrences=2 or --set eta=[0.1,0.1,0.3]")
        overrides[key.strip().replace("-", "_")] = _value(value.strip())
    overrides |= {key: value for key, value in more.items() if value is not None}
    return preset(name, **overrides), overrides


def _value(text: str) -> Any:
    try:
        value = json.loads({"None": "null", "True": "true", "False": "false"}.get(text, text))
    except ValueError:
        # A tuple, as docs/settings.md and Python write it.
        try:
            value = ast.literal_eval(text) if text.startswith("(") else text
        except (ValueError, SyntaxError):
            return text
    return tuple(value) if isinstance(value, list) else value


def read_pipeline_kwargs(text: str | None, steered_here: Collection[str]) -> dict[str, Any]:
    """The JSON object of --pipeline-kwargs. Raises ConfigError; `steered_here` are keys that have their own option."""
    remedy = """give a JSON object, as '{"eta": 1}'"""
    try:
        kwargs = json.loads(text or "{}", parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--pipeline-kwargs {text!r:.200}: not JSON ({error}); {remedy}") from error
    if not isinstance(kwargs, dict):
        raise ConfigError(f"--pipeline-kwargs {text!r}: not an object; {remedy}")
    for key in kwargs:
        if key in steered_here:
            raise ConfigError(f"--pipeline-kwargs: {key!r} {OF_THE_RUN.get(key, 'has an option of its own: --' + key.replace('_', '-'))}")
    return kwargs


def _no_number(word: str) -> Any:
    """NaN and Infinity, which Python's JSON has and no image can be made with."""
    raise ValueError(f"{word} is no number there")


def read_file(path: Path, what: str) -> str:
    """The text of a file the user named. Raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8-sig")  # without the mark that some editors begin a file with
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} {path}: cannot be read ({error}); name a readable UTF-8 file") from error


def read_graph(path: Path) -> SemanticGraph:
    """The graph in the file of --graph. Raises ConfigError or PromptError, which name the file."""
    from ..prompt.graph import SemanticGraph

    try:
        return SemanticGraph.from_json(read_file(path, "--graph"))
    except PromptError as error:
        raise PromptError(f"--graph {path}: ", error) from error


def check_positive(**values: float | None) -> None:
    """Raises ConfigError for an option that is given and not above 0; `min_size` becomes --min-size."""
    for name, value in values.items():
        if value is not None and not 0 < value < float("inf"):
            raise ConfigError(f"--{name.replace('_', '-')} {value}: must be above 0{' and finite' * (value == math.inf)}")


def check_steps(steps: int | None) -> None:
    """Raises ConfigError for steps that are given and not as many as a run can have."""
    check_positive(steps=steps)
    if steps is not None and steps > MOST_STEPS:
        raise ConfigError(f"--steps {steps}: give {MOST_STEPS} or fewer")


def check_finite(**values: float | None) -> None:
    """Raises ConfigError for an option that is nan or infinite."""
    for name, value in values.items():
        if value is not None and not math.isfinite(value):
            raise ConfigError(f"--{name.replace('_', '-')} {value}: must be a finite number")


def check_size(**sides: int | None) -> None:
    """Raises ConfigError for an option that is given and no height or width."""
    for name, side in sides.items():
        if side is not None:
            check_side(f"--{name}", side)
