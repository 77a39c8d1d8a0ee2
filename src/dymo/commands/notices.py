"""What a reader of a terminal is told: errors, warnings and log records, each on a line, on the standard error."""

from __future__ import annotations

import ast
import dataclasses
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from ..config import Config
from .schema import Common

# Keywords of the library that have an option of their own; other settings of Config are given with --set.
_OPTIONS = {
    "num_inference_steps", "truncation", "on_hacking", "watch", "reward", "preset", "graph", "preview_vae", "parser",
    "guidance_scale", "negative_prompt", "height", "width", "on_failure", "concurrency", "base_url",
}  # fmt: skip
_SETTINGS = [field.name for field in dataclasses.fields(Config) if field.name not in _OPTIONS]
_KEYWORD = re.compile(
    rf"(?<![\w.'\"-])(?<!--set )({'|'.join([*_OPTIONS, *_SETTINGS])})=('[^']*'|\[[^\]]*\]|\([^)]*\)|[^\s,;:()]*[^\s,;:().])?"
)


def _pipeline_kwarg(match: re.Match[str]) -> str:
    return f"--pipeline-kwargs '{{\"{match[1]}\": {match[2].lower()}}}'"


# Calls and assignments of the library's remedies -> the options that do the same.
_CALLS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"(?<![\w.'\"-])compile=True"), "--compile"),
    (re.compile(r"(?<![\w.'\"-])compile='graphs'"), "--graphs"),
    (re.compile(r"pipe\.scheduler = (\w+)\.from_config\(pipe\.scheduler\.config\)"), r"--scheduler \1"),
    (re.compile(r"(?<![\w.'\"-])give model=(?=, or set)"), "give --parser-model NAME"),
    (re.compile(r"Budget\((evaluations|seconds)=([\d.]+)\)"), r"--budget-\1 \2"),
    (re.compile(r"Budget\((evaluations|seconds)=\)"), r"--budget-\1"),
    (re.compile(r"Check base_url, model and key"), "Check --base-url, --parser-model and $OPENAI_API_KEY"),
    (re.compile(r"^base_url(?= is no )"), "--base-url"),
    (re.compile(r"set (?=on_failure=)"), "take "),
    (re.compile(r", FILE\.py:NAME, or a function f\(images, prompts\) -> scores"), ", or FILE.py:NAME"),
    (re.compile(r"(?<![\w.'\"-])(?<!, )num_inference_steps(?!\w|=)"), "--steps"),  # in a list of arguments it is one of them
    (re.compile(r",? with source=(?![\w'\"/])"), ""),  # commands that have --source say so themselves
    # Arguments of the pipeline's call without an option of their own.
    (re.compile(r"\b(clean_caption|enable_prompt_rewrite|use_kv_cache|use_pe)=(True|False)"), _pipeline_kwarg),
    (re.compile(r"(?:pipe\.)?enable_(model|sequential)_cpu_offload\(\)"), r"--offload \1"),
)


def in_words_of_options(text: str, sets: bool = True) -> str:
    """A message of the library as the command line says it: truncation='report' becomes --truncation report.

    A setting without an option of its own becomes --set k=-1, where the command has that option.
    """
    for call, option in _CALLS:
        text = call.sub(option, text)

    def said(match: re.Match[str]) -> str:
        name, value = match[1], match[2] or ""
        if name not in _OPTIONS:
            return f"--set {name}={value}" if sets else match[0]
        try:
            read = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            read = value
        option = name.removeprefix("num_inference_").replace("_", "-")
        return " ".join(f"--{option} {one}".rstrip() for one in (read if isinstance(read, (list, tuple)) else [read]))

    return _KEYWORD.sub(said, text)


def show(kind: str, style: str, message: object, sets: bool = True) -> None:
    """ "Error: what was wrong", in a colour, on one line."""
    said = in_words_of_options(" ".join(line.strip() for line in str(message).splitlines()), sets)
    Console(stderr=True).print(Text.assemble((f"{kind}: ", f"bold {style}"), (said, style)), soft_wrap=True)


@contextmanager
def plain_warnings(say: Callable[[str, str, object], None]) -> Iterator[None]:
    """Within it, a warning is one yellow line without the code that raised it; what is filtered out stays so.

    say: takes the kind of message, its colour and its text.
    """
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *place, **more: say("Warning", "yellow", message)
        yield


def start_logging(settings: Common) -> None:
    """Send the records of the library's loggers to the standard error, from the level that the options name on."""
    level = settings.log_level or ("warning", "info", "debug")[min(settings.verbose, 2)]
    logger = logging.getLogger("dymo")
    logger.setLevel(level.upper())
    console = Console(stderr=True)
    on_screen = console.is_terminal
    logger.handlers = [
        RichHandler(console=console, show_path=False) if on_screen else logging.StreamHandler(console.file)
    ]
    form = "%(name)s: %(message)s" if on_screen else "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logger.handlers[0].setFormatter(logging.Formatter(form))
