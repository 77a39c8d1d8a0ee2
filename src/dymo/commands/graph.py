"""`dymo graph`: what a parser understood of a prompt, as a small tree, as JSON, as SVG, and for many prompts as a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from ..errors import ConfigError, PromptError
from ..report.atomic import write_text
from . import options
from .lines import Resumable
from .parsers import ParserChoice, load_tokenizer

if TYPE_CHECKING:
    from ..prompt.graph import SemanticGraph, Span
    from ..prompt.tokens import TokenPairs


@dataclass(frozen=True)
class Request:
    """What the command line asked for, as it was written."""

    prompt: str | None = None
    parser: ParserChoice = field(default_factory=ParserChoice)
    graph: Path | None = None
    tokenizer: str | None = None
    as_json: bool = False
    svg: Path | None = None
    file: Path | None = None
    out: Path | None = None


def run(request: Request, console: Console) -> None:
    """Show or write the graphs asked for. Raises DyMOError."""
    if request.file is not None:
        _many(request, console)
        return
    if request.out is not None:
        raise ConfigError(f"--out {request.out} belongs to --file: give both, or use --json")
    graph = _one(request)
    tokenizer = None if request.tokenizer is None else load_tokenizer(request.tokenizer)
    pairs = None if tokenizer is None else _pairs(graph, tokenizer)
    if request.svg is not None:
        from ..report.graph_svg import draw

        write_text(request.svg, draw(graph, pairs))
        console.print(f"Drawing: {request.svg}", markup=False, highlight=False, soft_wrap=True)
    if request.as_json:
        sys.stdout.write(as_json(graph, pairs) + "\n")
    elif request.svg is None:
        console.print(as_tree(graph, pairs))


def _one(request: Request) -> SemanticGraph:
    if (request.prompt is None) == (request.graph is None):
        raise ConfigError(
            "give a PROMPT, or --graph FILE.json with one that was read before, or --file with many prompts"
        )
    if request.graph is not None:
        return options.read_graph(request.graph)
    (prompt,) = options.read_prompts([request.prompt or ""])
    return request.parser.load()(prompt)


def _many(request: Request, console: Console) -> None:
    """Write the graph of each prompt as a line, in their order; go on where an earlier run was cut off."""
    given = {"PROMPT": request.prompt, "--graph": request.graph, "--svg": request.svg, "--tokenizer": request.tokenizer}
    for name, value in given.items():
        if value is not None:
            raise ConfigError(f"--file {request.file}: {name} is for one prompt; leave it out")
    if request.file is None or request.out is None:
        raise ConfigError(f"--file {request.file}: say where the graphs go, with --out GRAPHS.jsonl")
    prompts = [line for line in options.read_file(request.file, "--file").splitlines() if line.strip()]
    if not prompts:
        raise ConfigError(f"--file {request.file}: holds no prompt; write one a line")
    lines = Resumable(request.out)
    done = _done(request.out, lines.whole_lines(), prompts)
    parser = request.parser.load()
    if done:
        console.print(f"{done} of {len(prompts)} are there already", highlight=False)
    lines.append(graph.to_json() for graph in parser.parse_many(prompts[done:]))
    console.print(f"{len(prompts)} graphs: {request.out}", markup=False, highlight=False, soft_wrap=True)


def _done(path: Path, lines: Sequence[str], prompts: Sequence[str]) -> int:
    """How many graphs a file has of these prompts. Raises ConfigError where it is not the file of these prompts."""
    from ..prompt.graph import SemanticGraph

    for n, line in enumerate(lines):
        try:
            held = SemanticGraph.from_json(line).prompt
        except PromptError as error:
            raise ConfigError(f"--out {path}: line {n + 1} is no graph ({error}); name another file") from error
        if n >= len(prompts) or held != prompts[n]:
            wanted = repr(prompts[n]) if n < len(prompts) else "no further prompt"
            raise ConfigError(
                f"--out {path}: line {n + 1} is of {held!r}, but --file has {wanted} there; name another file"
            )
    return len(lines)


def _pairs(graph: SemanticGraph, tokenizer: Any) -> TokenPairs:
    from ..prompt.tokens import token_pairs

    return token_pairs(graph, tokenizer)


def as_json(graph: SemanticGraph, pairs: TokenPairs | None = None) -> str:
    """`graph.to_json()`; with pairs, their token positions under "tokens"."""
    if pairs is None:
        return graph.to_json()
    tokens = {
        "positive": pairs.positive, "negative": pairs.negative, "words": dict(pairs.words), "truncated": pairs.truncated,
    }  # fmt: skip
    return json.dumps({**json.loads(graph.to_json()), "tokens": tokens}, ensure_ascii=False)


def as_tree(graph: SemanticGraph, pairs: TokenPairs | None = None) -> Tree:
    """The prompt; under it each thing with its character span, under that its attributes and relations; last the style.

    With pairs, each word has its token positions too, and the pairs that are drawn together or apart are counted.
    """
    tree = Tree(Text(graph.prompt, style="bold"))
    positions = _positions(graph, pairs)
    for n, entity in enumerate(graph.entities):
        branch = tree.add(_word(entity.text, entity.span, "cyan", positions))
        for attribute in entity.attributes:
            branch.add(_word(attribute.text, attribute.span, "green", positions))
        for relation in graph.relations:
            if relation.subject == n:
                target = graph.entities[relation.object].text
                branch.add(Text.assemble((relation.text, "yellow"), (" → ", "dim"), (target, "cyan")))
    if graph.style:
        tree.add(Text.assemble(("style: ", "dim"), (", ".join(graph.style), "magenta")))
    if not graph.entities:
        tree.add(Text("names nothing: the semantic objective will have nothing to do", style="dim"))
    if pairs is not None:
        tree.add(Text(f"pairs: {len(pairs.positive)} together, {len(pairs.negative)} apart", style="dim"))
        if pairs.truncated:
            tree.add(Text(f"beyond the tokenizer's window: {', '.join(pairs.truncated)}", style="red"))
    return tree


def _positions(graph: SemanticGraph, pairs: TokenPairs | None) -> dict[Span, tuple[int, ...]]:
    from ..prompt.tokens import positions_by_span

    return {} if pairs is None else positions_by_span(graph, pairs)


def _word(text: str, span: Span, style: str, positions: dict[Span, tuple[int, ...]]) -> Text:
    parts: list[tuple[str, str]] = [(text, style), (f"  {span[0]}–{span[1]}", "dim")]
    if span in positions:
        parts.append((f"  tokens {', '.join(map(str, positions[span]))}", "dim"))
    return Text.assemble(*parts)
