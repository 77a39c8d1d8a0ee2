"""A report of a comparison: one self-contained HTML page, and the same in Markdown."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass

from .table import Table

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1e; --faint: #6e6e73; --paper: #fdfdfc; --rule: #dcdcd8; --card: #f5f5f2;
  --good: #1a7f37; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e6; --faint: #a0a0a5; --paper: #17181a; --rule: #36383c;
  --card: #202226; --good: #5fcf7f; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 3rem 1.25rem 5rem; max-width: 68rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .75rem; font-weight: 650; }
h2 { font-size: 1.15rem; margin: 2.75rem 0 .75rem; font-weight: 650; }
p { max-width: 44rem; margin: .5rem 0; }
.faint, figcaption, summary { color: var(--faint); font-size: .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-size: .95rem; }
th, td { padding: .4rem .9rem .4rem 0; text-align: left; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; padding: .4rem 0 .4rem 1.4rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; font-size: .9rem; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1.25rem; }
.entry { background: var(--card); border-radius: .6rem; padding: 1rem; min-width: 0; }
.entry h3 { font-size: .98rem; font-weight: 600; margin: 0 0 .6rem; line-height: 1.35; }
.row { display: flex; gap: .75rem; flex-wrap: wrap; }
figure { margin: 0; flex: 1 1 7rem; min-width: 0; }
img { display: block; width: 100%; height: auto; border-radius: .25rem; }
img.pixels { image-rendering: pixelated; }
img.plot { background: #fff; margin-top: .6rem; }
.good { color: var(--good); } .bad { color: var(--bad); }
details { margin-top: .7rem; } summary { cursor: pointer; }
""".strip()


@dataclass(frozen=True)
class Picture:
    """A picture of the report: embedded in the HTML, linked in the Markdown."""

    name: str
    """What it is, as "aligned"."""
    png: bytes
    path: str
    """Where the file lies, relative to the report."""
    note: str = ""
    """A short line under it, as its scores."""
    correct: bool | None = None
    """Whether it shows what the prompt says; None where nobody judged."""
    small: bool = False
    """Enlarge it with hard edges."""


@dataclass(frozen=True)
class Entry:
    """One prompt: its pictures and, folded away, the plot of its run."""

    caption: str
    pictures: Sequence[Picture]
    plot: Picture | None = None


@dataclass(frozen=True)
class Section:
    """A further part of a report: a heading, what it says, tables, and pictures of full width."""

    title: str
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Page:
    """A report: `lead` says the outcome, `table` shows it, `notes` say how to read it, `facts` how it was made."""

    title: str
    lead: str
    table: Table
    notes: Sequence[str] = ()
    entries: Sequence[Entry] = ()
    facts: Sequence[tuple[str, str]] = ()
    sheet: str | None = None
    """The contact sheet's path, relative to the report; shown in the Markdown."""
    sections: Sequence[Section] = ()
    """Between the notes and the pictures."""

    def to_html(self) -> str:
        """One file that needs no other, and runs no script."""
        text = html.escape
        facts = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in self.facts)
        entries = "\n".join(_entry_html(entry) for entry in self.entries)
        parts = [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{text(self.title)}</title>",
            f"<style>\n{_STYLE}\n</style></head>",
            f"<body>\n<h1>{text(self.title)}</h1>\n<p>{text(self.lead)}</p>",
            f'<div class="scroll">{self.table.to_html()}</div>',
            *(f'<p class="faint">{text(note)}</p>' for note in self.notes),
            *(_section_html(section) for section in self.sections),
            f'<h2>The pictures</h2>\n<div class="gallery">\n{entries}\n</div>' if entries else "",
            f"<h2>How it was made</h2>\n<dl>{facts}</dl>" if facts else "",
            "</body>\n</html>\n",
        ]
        return "\n".join(part for part in parts if part)

    def to_markdown(self) -> str:
        """The same with links to the files beside it."""
        parts = [f"# {self.title}", self.lead, self.table.to_markdown(), *self.notes]
        for section in self.sections:
            parts += [f"## {section.title}", *(table.to_markdown() for table in section.tables)]
            parts += [f"![{picture.name}](<{picture.path}>)" for picture in section.pictures]
            parts += ["\n".join(f"- {note}" for note in section.notes)] if section.notes else []
        if self.sheet:
            parts.append(f"![contact sheet](<{self.sheet}>)")
        if self.entries:
            parts.append("## The pictures")
            parts.append("\n".join(_entry_markdown(entry) for entry in self.entries))
        if self.facts:
            parts.append("## How it was made")
            parts.append("\n".join(f"- {name}: {value}" for name, value in self.facts))
        return "\n\n".join(parts) + "\n"


def _section_html(section: Section) -> str:
    text = html.escape
    parts = [f"<h2>{text(section.title)}</h2>"]
    parts += [f'<div class="scroll">{table.to_html()}</div>' for table in section.tables]
    parts += [
        f'<img class="plot" src="{_data_uri(picture.png)}" alt="{text(picture.name)}">' for picture in section.pictures
    ]
    if section.notes:
        parts.append(f"<ul>{''.join(f'<li>{text(note)}</li>' for note in section.notes)}</ul>")
    return "\n".join(parts)


def _entry_html(entry: Entry) -> str:
    pictures = "".join(_picture_html(picture) for picture in entry.pictures)
    plot = ""
    if entry.plot is not None:
        name = html.escape(entry.plot.name)
        image = f'<img class="plot" src="{_data_uri(entry.plot.png)}" alt="{name}" loading="lazy">'
        plot = f"<details><summary>{name}</summary>{image}</details>"
    caption = html.escape(entry.caption)
    return f'<section class="entry"><h3>{caption}</h3><div class="row">{pictures}</div>{plot}</section>'


def _picture_html(picture: Picture) -> str:
    name = html.escape(picture.name)
    kind = ' class="pixels"' if picture.small else ""
    note = f"<br>{html.escape(picture.note)}" if picture.note else ""
    image = f'<img{kind} src="{_data_uri(picture.png)}" alt="{name}">'
    return f"<figure>{image}<figcaption>{name}{_verdict_html(picture.correct)}{note}</figcaption></figure>"


def _verdict_html(correct: bool | None) -> str:
    if correct is None:
        return ""
    return ' <span class="good">✓ right</span>' if correct else ' <span class="bad">✗ wrong</span>'


def _entry_markdown(entry: Entry) -> str:
    marks = {True: " ✓", False: " ✗", None: ""}
    links = [f"[{p.name}](<{p.path}>){marks[p.correct]}" for p in entry.pictures]
    if entry.plot is not None:
        links.append(f"[{entry.plot.name}](<{entry.plot.path}>)")
    return f"- {entry.caption}: {', '.join(links)}"


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
