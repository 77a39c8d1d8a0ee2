"""Tables on a screen and for programs."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from ..report.table import Table


def show_table(table: Table, console: Console) -> None:
    """Lines that are never broken for a file or a pipe; on a terminal too narrow for them, cells wrapped to its width."""
    text = table.to_text()
    if not console.is_terminal or max(map(len, text.splitlines())) <= console.width:
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        return
    grid = Grid(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0), show_edge=False)
    for column in table.columns:
        grid.add_column(column.title, justify="right" if column.numeric else "left", overflow="fold")
    for row in table.rows:
        grid.add_row(*(column.text(cell) for column, cell in zip(table.columns, row, strict=True)))
    console.print(grid, markup=False, highlight=False)


def as_json(content: Any) -> str:
    """Indented, without NaN; a `Table` as a list of objects by its columns' titles."""
    if isinstance(content, Table):
        titles = [column.title for column in content.columns]
        content = [dict(zip(titles, row, strict=True)) for row in content.rows]
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
