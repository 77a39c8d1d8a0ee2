"""Files of prompts in the forms that data sets come in: lines, tables, JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .needs import need

COLUMNS = ("prompt", "text", "caption", "Prompt", "Prompts", "prompts")
KINDS = ".txt (one a line), .csv, .tsv, .json, .jsonl or .parquet"
Found = Iterator[tuple[str, Any]]
"""Where in its file a prompt stands, and what stands there."""


def read_prompt_file(path: Path) -> list[str]:
    """The prompts of a file as they stand there, in order, without empty ones: lines, or a column of COLUMNS.

    Raises ConfigError where it cannot be read, is of another kind, or holds something else than texts; its words begin with the file.
    """
    kind = path.suffix.lower()
    if kind not in _READERS:
        raise ConfigError(f"{path}: where the prompts are in a {kind} file is not known; give {KINDS}")
    prompts = []
    try:
        for place, prompt in _READERS[kind](path):
            if prompt is not None and not isinstance(prompt, str):
                raise ConfigError(f"{path}, {place}: the prompt is {prompt!r}; give a text")
            if prompt and prompt.strip():
                prompts.append(prompt)
    except ConfigError:
        raise
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        remedy = "name a readable UTF-8 file" if isinstance(error, (OSError, UnicodeDecodeError)) else f"give {KINDS}, and whole"
        raise ConfigError(f"{path}: cannot be read ({error}); {remedy}") from error
    return prompts


def column_of(names: Sequence[str], where: object) -> str:
    """The name of the column that holds the prompts. Raises ConfigError where none is known to."""
    for name in COLUMNS:
        if name in names:
            return name
    raise ConfigError(f"{where} has no column of prompts: {', '.join(map(str, names))}; name one of them 'prompt'")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig")  # without the mark that some editors begin a file with


def _lines(path: Path) -> Found:
    for number, line in enumerate(_text(path).splitlines(), 1):
        yield f"line {number}", line


def _parquet(path: Path) -> Found:
    table = need("pyarrow.parquet").read_table(path)
    for number, prompt in enumerate(table.column(column_of(table.column_names, path)).to_pylist(), 1):
        yield f"row {number}", prompt


def _jsonl(path: Path) -> Found:
    for number, line in enumerate(_text(path).split("\n"), 1):  # a text in JSON may hold other signs that end lines
        if line.strip():
            place = f"line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ConfigError(f"{path}, {place}: not JSON ({error}); give one text or object a line") from error
            yield place, _said(row, f"{path}, {place}")


def _json(path: Path) -> Found:
    rows = json.loads(_text(path))
    if not isinstance(rows, list):
        raise ConfigError(f"{path}: holds {type(rows).__name__}; give a list of texts, or of objects with a prompt each")
    for number, row in enumerate(rows, 1):
        place = f"element {number}"
        yield place, _said(row, f"{path}, {place}")


def _said(row: Any, where: str) -> Any:
    """The prompt in a value of JSON, which is the prompt itself or an object that has it."""
    return row[column_of(list(row), where)] if isinstance(row, dict) else row


def _csv(path: Path) -> Found:
    return _column(path, _split(_text(path), csv.excel))


def _tsv(path: Path) -> Found:
    """Tab-separated: with quotes as CSV has them, else with quotes as signs like any other."""
    text = _text(path)
    try:
        rows = _split(text, csv.excel_tab)
    except csv.Error:
        rows = [(number, line.split("\t")) for number, line in enumerate(text.split("\n"), 1) if line]
    return _column(path, rows)


def _split(text: str, dialect: type[csv.Dialect]) -> list[tuple[int, list[str]]]:
    """The rows that are not empty, each with the number of its last line. Raises csv.Error on quotes that are not closed."""
    reader = csv.reader(io.StringIO(text), dialect, strict=True)
    return [(reader.line_num, row) for row in reader if row]


def _column(path: Path, rows: list[tuple[int, list[str]]]) -> Found:
    """The prompts under a heading. Raises ConfigError on a row that has another number of fields than there are headings."""
    if not rows:
        return
    names = [name.strip() for name in rows[0][1]]
    at = names.index(column_of(names, path))
    for number, row in rows[1:]:
        if at >= len(row) or any(cell.strip() for cell in row[len(names) :]):
            remedy = "put a field that has the separator in it in quotes"
            raise ConfigError(f"{path}, line {number}: {len(row)} fields under {len(names)} headings; {remedy}")
        yield f"line {number}", row[at]


_READERS: dict[str, Callable[[Path], Found]] = {
    "": _lines, ".txt": _lines, ".csv": _csv, ".tsv": _tsv, ".json": _json, ".jsonl": _jsonl, ".parquet": _parquet,
}  # fmt: skip
