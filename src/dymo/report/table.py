"""Rows and columns as text, Markdown and HTML, numbers aligned."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

Cell = str | int | float | None


@dataclass(frozen=True)
class Column:
    """A heading, and how its cells are printed."""

    title: str
    digits: int | None = None
    """Decimals of its numbers; None for a column of words, set to the left."""
    unit: str = ""
    """Put after each number, as " %"."""

    @property
    def numeric(self) -> bool:
        return self.digits is not None

    def text(self, cell: Cell) -> str:
        """A number with the column's decimals and unit; None as a dash; words as they are."""
        if cell is None:
            return "–"
        if isinstance(cell, str) or self.digits is None:
            return str(cell)
        return f"{cell:.{self.digits}f}{self.unit}"


@dataclass(frozen=True)
class Table:
    """Cells in rows under columns. Raises ValueError where a row has another length than `columns`."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {len(row)} cells under {len(self.columns)} columns: {row!r}")

    def _texts(self) -> list[list[str]]:
        return [[column.text(cell) for column, cell in zip(self.columns, row, strict=True)] for row in self.rows]

    def _aligned(self, header: Sequence[str], rows: Sequence[Sequence[str]], least: int) -> list[list[str]]:
        lines = [header, *rows]
        widths = [max(least, *(len(line[i]) for line in lines)) for i in range(len(self.columns))]
        return [
            [
                cell.rjust(width) if column.numeric else cell.ljust(width)
                for cell, width, column in zip(line, widths, self.columns, strict=True)
            ]
            for line in lines
        ]

    def to_text(self) -> str:
        """Columns two spaces apart, a rule under the headings."""
        header, *rows = self._aligned([column.title for column in self.columns], self._texts(), least=1)
        rule = ["─" * len(cell) for cell in header]
        return "\n".join("  ".join(line).rstrip() for line in (header, rule, *rows))

    def to_markdown(self) -> str:
        """A pipe table; numbers to the right."""
        escaped = [[cell.replace("|", "\\|") for cell in row] for row in self._texts()]
        header, *rows = self._aligned([column.title.replace("|", "\\|") for column in self.columns], escaped, least=3)
        rule = [
            "-" * (len(cell) - 1) + (":" if column.numeric else "-")
            for cell, column in zip(header, self.columns, strict=True)
        ]
        return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))

    def to_html(self) -> str:
        """A <table>; cells of numeric columns have the class "number"."""

        def line(cells: Sequence[str], tag: str) -> str:
            marked = (
                f"<{tag}{' class=number' if column.numeric else ''}>{html.escape(cell)}</{tag}>"
                for cell, column in zip(cells, self.columns, strict=True)
            )
            return f"<tr>{''.join(marked)}</tr>"

        head = line([column.title for column in self.columns], "th")
        body = "\n".join(line(row, "td") for row in self._texts())
        return f"<table>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"
