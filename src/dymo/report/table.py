"""Rows and columns as text, Markdown, LaTeX and CSV, numbers aligned."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import DataRow, Line, TableFormat, tabulate

Cell = str | int | float | None
_TEXT = TableFormat(None, Line("", "─", "  ", ""), None, None, DataRow("", "  ", ""), DataRow("", "  ", ""), 0, None)


@dataclass(frozen=True)
class Column:
    """A heading, and how its cells are printed."""

    title: str
    digits: int | None = None  # decimals of its numbers; None for a column of words, set to the left

    @property
    def numeric(self) -> bool:
        """Whether its cells are numbers, aligned by their decimals."""
        return self.digits is not None

    def text(self, cell: Cell) -> str:
        """A number with the column's decimals; None as a dash; words as they are."""
        if cell is None:
            return "–"
        if isinstance(cell, str) or self.digits is None:
            return str(cell)
        return f"{cell:.{self.digits}f}"


@dataclass(frozen=True)
class Table:
    """Cells in rows under columns. Raises ValueError where a row has another length than `columns`.

    A line break in a cell is one on an HTML page, and a space elsewhere.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {len(row)} cells under {len(self.columns)} columns: {row!r}")

    def texts(self) -> list[list[str]]:
        """The cells as they are printed."""
        return [[column.text(cell) for column, cell in zip(self.columns, row, strict=True)] for row in self.rows]

    def to_text(self) -> str:
        """Columns two spaces apart, a rule under the headings."""
        return "\n".join(line.rstrip() for line in self._formatted(_TEXT).splitlines())

    def to_markdown(self) -> str:
        """A pipe table; numbers to the right."""
        return self._formatted("pipe", "\\|")

    def to_latex(self) -> str:
        """A tabular of the package booktabs."""
        return self._formatted("latex_booktabs") + "\n"

    def to_csv(self) -> str:
        """Numbers with all their digits; a missing one is an empty cell."""
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows([[column.title for column in self.columns], *self.rows])
        return buffer.getvalue()

    def _formatted(self, form: str | TableFormat, bar: str = "|") -> str:
        lines = [[column.title for column in self.columns], *self.texts()]
        header, *rows = [[cell.replace("|", bar).replace("\n", " ") for cell in line] for line in lines]
        align = ["right" if column.numeric else "left" for column in self.columns]
        return tabulate(rows, header, form, colalign=align if rows else None, disable_numparse=True)
