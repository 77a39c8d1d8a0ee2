"""The page of the settings says what the code does."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from dymo import Budget, DyMO
from dymo.config import PRESETS, Config

DOCS = Path(__file__).parent.parent / "docs"
FIELDS = [field.name for field in dataclasses.fields(Config)]


def table(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of docs/settings.md, by row, with the row of the columns' names."""
    text = (DOCS / "settings.md").read_text(encoding="utf-8")
    lines = text.split(f"\n## {heading}\n")[1].split("\n## ")[0].splitlines()
    rows = [re.split(r"(?<!\\)\|", line.strip())[1:-1] for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in row] for n, row in enumerate(rows) if n != 1]


def value(cell: str):
    """What a cell like `(0.1, 0.2)` stands for."""
    return ast.literal_eval(cell.strip("`"))


def test_every_setting_has_its_row_with_every_cell_filled():
    columns, *rows = table("The method's numbers")
    assert columns == ["setting", "what it is", "range", "change it"]
    assert [row[0].strip("`") for row in rows] == FIELDS
    assert all(len(row) == 4 and all(row) for row in rows)


def test_the_values_of_the_presets_are_those_of_the_code():
    columns, *rows = table("The presets")
    assert columns[0] == "setting" and set(columns[1:]) == set(PRESETS) and columns[1] == "paper"
    assert PRESETS["paper"] == Config()
    assert [row[0].strip("`") for row in rows] == FIELDS
    for row in rows:
        field = row[0].strip("`")
        for preset, cell in zip(columns[1:], row[1:], strict=True):
            written = value(cell or row[1])
            held = getattr(PRESETS[preset], field)
            assert (written, type(written)) == (held, type(held)), f"{field} of {preset}"


def test_the_choices_are_those_of_the_code():
    hints = get_type_hints(Config)
    for field, _, choices, _ in table("The method's numbers")[1:]:
        kind = hints[field.strip("`")]
        wanted = {c for part in (kind, *get_args(kind)) if get_origin(part) is Literal for c in get_args(part)}
        assert {value(choice) for choice in re.findall(r"`('[^`]*')`", choices)} == wanted, field


@pytest.mark.parametrize("heading, function", [("`DyMO(...)`", DyMO.__init__), ("The call", DyMO.__call__)])
def test_the_arguments_are_those_of_the_code(heading, function):
    wanted = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self" and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    empty = inspect.Parameter.empty
    written = {row[0].strip("`"): value(row[1]) if row[1] else empty for row in table(heading)[1:]}
    assert list(written) == list(wanted) and written == wanted


def test_what_a_budget_takes_is_named():
    for field in dataclasses.fields(Budget):
        assert f"Budget({field.name}=" in (DOCS / "settings.md").read_text(encoding="utf-8")


def test_the_pages_that_are_linked_are_there():
    for page in [DOCS.parent / "README.md", *DOCS.glob("*.md")]:
        text = page.read_text(encoding="utf-8")
        named = {DOCS.parent / name for name in re.findall(r"`(docs/[\w.-]+\.md)`", text)}
        named |= {page.parent / name for name in re.findall(r"\]\(([\w./-]+\.md)[)#]", text)}
        missing = sorted(str(path) for path in named if not path.is_file())
        assert not missing, f"{page.name} names {missing}"
