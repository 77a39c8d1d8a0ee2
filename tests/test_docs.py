"""The pages say what the code does: tables of settings, snippets that run, commands that are parsed.

A snippet that cannot run here has a comment with the reason in the line before it: <!-- not run: needs a server -->.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import shlex
from pathlib import Path
from typing import Literal, NamedTuple, get_args, get_origin, get_type_hints

import diffusers
import pytest
import tiny
import typer.main

import dymo
from dymo import Budget, DyMO
from dymo.bench.plan import Comparison
from dymo.bench.reading import read_yaml
from dymo.cli import app
from dymo.commands.options import check_miniature_words
from dymo.config import PRESETS, Config
from dymo.rewards import FunctionReward
from dymo.rewards.registry import Spec

DOCS = Path(__file__).parent.parent / "docs"
PAGES = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]
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
    assert columns[0] == "setting" and set(columns[1:]) == set(PRESETS) and columns[1] == "default"
    assert PRESETS["default"] == Config()
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


def test_every_public_name_has_its_place_in_the_table_of_names():
    named = [name for row in table("What `dymo` has")[1:] for cell in row for name in re.findall(r"`(\w+)`", cell)]
    assert set(dymo.__all__) <= set(named)
    assert all(hasattr(dymo, name) for row in table("What `dymo` has")[1:] for name in re.findall(r"`(\w+)`", row[0]))


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_what_is_linked_is_there():
    for page in [*PAGES, *DOCS.glob("tables/*/*.md"), *(DOCS.parent / name for name in ("CHANGELOG.md", "training/README.md"))]:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        links = [*(f"../{name}" if page.parent == DOCS else name for name in re.findall(r"`(docs/[\w.-]+\.md)`", text))]
        links += [link.strip("<>") for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
        for link in links:
            file, _, anchor = link.partition("#")
            there = page.parent / file if file else page
            assert there.exists() and (not anchor or anchor in anchors(there)), f"{page.name}: {link}"


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    not_run: str
    """The reason that the page gives; "" for a block that is to run."""


def blocks():
    fence = re.compile(r"(?:<!-- not run: (.+?) -->\n)?^```([\w-]*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in fence.finditer(text):
            yield Block(page.name, text[: match.start(3)].count("\n") + 1, match[2], match[3], match[1] or "")


PYTHON = [block for block in blocks() if block.language == "python" and not block.not_run]
SHELL = [block for block in blocks() if block.language in ("", "sh", "bash", "shell") and not block.not_run]


def where(block: Block) -> str:
    return f"{block.page}:{block.line}"


@pytest.fixture
def small_models(monkeypatch, tmp_path):
    """Models of the hub are tiny ones of the same classes, on the CPU; their rewards the brightness of the image."""
    monkeypatch.chdir(tmp_path)

    def pipeline(cls, name, *_, **__):
        return tiny.sdxl() if "XL" in cls.__name__ or "xl" in name else tiny.sd()

    def decoder(cls, *_, **__):
        return cls(encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
                   num_decoder_blocks=(1, 1))  # fmt: skip

    load = Spec.load

    def reward(self, source=None, *given, **more):
        if not self.source:
            return load(self, source, *given, **more)
        small = FunctionReward(tiny.brightness)
        small.name, small.scale = self.name, self.scale
        return small

    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", classmethod(pipeline))
    monkeypatch.setattr(diffusers.DiffusionPipeline, "to", lambda self, *_, **__: self)
    monkeypatch.setattr(diffusers.AutoencoderTiny, "from_pretrained", classmethod(decoder))
    monkeypatch.setattr(diffusers.AutoencoderTiny, "to", lambda self, *_, **__: self)
    monkeypatch.setattr("dymo.miniature.load_miniature", lambda **_: tiny.sd())
    monkeypatch.setattr("dymo.load_miniature", lambda **_: tiny.sd())
    monkeypatch.setattr(Spec, "load", reward)


@pytest.mark.parametrize("page", dict.fromkeys(block.page for block in PYTHON))
def test_c7_the_snippets_of_a_page_run_when_they_are_pasted(page, small_models):
    """One after the other, as a reader of the page does, who has a pipeline."""
    given = {"pipe": tiny.sd(), "__name__": "__main__"}
    for block in PYTHON:
        if block.page == page:
            # As written but for the work: fewer steps and iterations, and no GPU.
            code = re.sub(r"(num_inference_steps|iterations)=\d+", r"\1=2", block.text).replace('"cuda"', '"cpu"')
            exec(compile(code, where(block), "exec"), given)


def commands(text: str) -> list[list[str]]:
    """The words of each `dymo` command in a block, up to a pipe or redirection; continued lines as one."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        if line.removeprefix("$ ").startswith("dymo "):
            words = shlex.split(line.removeprefix("$ "), comments=True)
            ends = [i for i, word in enumerate(words) if word in (">", "|", "&&", ";")]
            found.append(words[1 : ends[0] if ends else None])
    return found


def parse(words: list[str]):
    """The parameters of a command, as the command line reads them. Raises what it raises on wrong ones."""
    command, words, path = typer.main.get_command(app), list(words), ["dymo"]
    while words and words[0] in getattr(command, "commands", {}):
        path.append(words.pop(0))
        command = command.commands[path[-1]]
    context = command.make_context(" ".join(path), words)
    return path, context.params


@pytest.mark.parametrize("block", [block for block in SHELL if commands(block.text)], ids=where)
def test_c7_the_commands_of_a_page_are_read_by_the_command_line(block):
    for words in commands(block.text):
        path, parameters = parse(words)
        if path == ["dymo", "generate"] and parameters["model"] is None:
            for prompt in parameters["prompts"]:
                if prompt != "...":
                    check_miniature_words(prompt)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_c7_commands_in_a_sentence_are_read_by_the_command_line(page):
    outside = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for command in re.findall(r"`(dymo [^`]+)`", outside):
        try:
            parse(shlex.split(command)[1:])
        except typer.Exit:
            pass  # it has done what it shows, as --version
        except Exception as error:
            # A sentence may name a command without all it needs.
            assert "Missing" in str(error) or type(error).__name__ in ("MissingParameter", "NoArgsIsHelpError"), command


def test_the_plan_of_a_page_is_read_whole(monkeypatch, tmp_path):
    (block,) = [block for block in blocks() if block.language == "yaml"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dymo.bench.plan.load_prompts", lambda source, n, seed: [f"{source} {i}" for i in range(n)])
    Path("mine.py").write_text("class Method:\n    def run(self, pipe, prompts, reward, budget, generator, **given):\n        return None\n")
    Path("plan.yaml").write_text(block.text)
    plan = Comparison.read(read_yaml(Path("plan.yaml")))
    assert len(plan.rows) == block.text.split("\nrows:\n")[1].count("  - ") and len(plan.prompts) == 100


def test_c7_the_examples_of_the_help_are_read_by_the_command_line():
    def examples(command):
        yield from re.findall(r"^`(dymo [^\n]+?)`(?: — .*)?$", command.epilog or "", re.MULTILINE)
        for below in getattr(command, "commands", {}).values():
            yield from examples(below)

    found = list(examples(typer.main.get_command(app)))
    assert len(found) > 15
    for line in found:
        (words,) = commands(line)
        parse(words)
