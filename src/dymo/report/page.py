"""A report: one self-contained HTML page, and the same in Markdown."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from .table import Table


class PageImage(NamedTuple):
    """An image of the report: embedded in the HTML, linked in the Markdown."""

    name: str  # what it is, as "aligned"
    content: bytes  # of a file of the kind that `path` ends with: .png, .svg or .webp; without one, of a PNG
    path: str = ""  # where the file is, relative to the report; the Markdown leaves out what has none
    note: str = ""  # a short line under it, as its scores
    correct: bool | None = None  # whether it shows what the prompt says; None where nobody judged
    small: bool = False  # enlarge it with hard edges

    @property
    def uri(self) -> str:
        """The content as a data: address, for a page in one file."""
        kind = {".svg": "svg+xml", ".webp": "webp"}.get(Path(self.path).suffix, "png")
        return f"data:image/{kind};base64,{base64.b64encode(self.content).decode('ascii')}"


class Entry(NamedTuple):
    """One prompt: its images and, folded away, the plot of its run."""

    caption: str
    images: Sequence[PageImage]
    plot: PageImage | None = None


class Section(NamedTuple):
    """A further part of a report: a heading, tables, images of full width, and what it says."""

    title: str
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()
    images: Sequence[PageImage] = ()


class Page(NamedTuple):
    """A report: `lead` says the outcome, `table` shows it, `notes` say how to read it, `facts` how it was made."""

    title: str
    lead: str
    table: Table
    notes: Sequence[str] = ()
    entries: Sequence[Entry] = ()
    facts: Sequence[tuple[str, str]] = ()
    sheet: str | None = None  # the contact sheet's path, relative to the report; shown in the Markdown
    sections: Sequence[Section] = ()  # between the notes and the images

    def to_html(self) -> str:
        """One file that needs no other, and runs no script."""
        return _templates().get_template("page.html").render(page=self)

    def to_markdown(self) -> str:
        """The same with links to the files beside it."""
        return _templates().get_template("page.md").render(page=self)


@cache
def _templates() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    return Environment(
        loader=PackageLoader("dymo.report"), autoescape=select_autoescape(), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
