"""Tables on a screen and for programs."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from ..report.table import Table


def show_table(table: Table, console: Console) -> None:
    """Lines that are never broken for a file or a pipe.

    On a terminal too narrow for them, cells wrapped to its width; where it is less than half as wide, a row below the other.
    """
    text = table.to_text()
    widest = max(map(len, text.splitlines()))
    if not console.is_terminal or widest <= console.width:
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        return
    titles = [column.title for column in table.columns]
    rows = [[column.text(cell) for column, cell in zip(table.columns, row, strict=True)] for row in table.rows]
    if widest <= 2 * console.width:
        grid = Grid(*titles, box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for shown, column in zip(grid.columns, table.columns, strict=True):
            shown.justify, shown.overflow = ("right", "ellipsis") if column.numeric else ("left", "fold")
        for cells in rows:
            grid.add_row(*cells)
        console.print(grid, markup=False, highlight=False)
        return
    for name, *cells in rows:
        grid = Grid.grid(padding=(0, 1, 0, 2), pad_edge=True)
        for title, cell in zip(titles[1:], cells, strict=True):
            grid.add_row(Text(title, style="dim"), cell)
        console.print(Text(name, style="bold"), grid, sep="\n", markup=False, highlight=False)


def as_json(content: Any) -> str:
    """Indented, without NaN; a `Table` as a list of objects by its columns' titles."""
    if isinstance(content, Table):
        titles = [column.title for column in content.columns]
        content = [dict(zip(titles, row, strict=True)) for row in content.rows]
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
