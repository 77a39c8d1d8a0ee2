"""`dymo graph`: what a parser understood of a prompt, as a small tree, as JSON, as SVG, and for many prompts as a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from ..errors import ConfigError, PromptError
from ..prompt.reading import read
from ..report.atomic import write_text
from . import options
from .models import quiet_libraries
from .names import check_free
from .schema import Graph
from .screen import say
from .sources import check_parser, check_tokenizer, load_parser, load_tokenizer

if TYPE_CHECKING:
    from ..prompt.graph import SemanticGraph, Span
    from ..prompt.tokens import TokenPairs


def run(settings: Graph, console: Console, notes: Console) -> None:
    """Show or write the graphs asked for; JSON and trees on `console`, where files went on `notes`. Raises DyMOError."""
    check_parser(settings)
    if settings.tokenizer is not None:
        check_tokenizer(settings.tokenizer)
    if settings.parser == "transformers":
        quiet_libraries()
    if settings.graph is not None and (settings.parser != "spacy" or settings.parser_model or settings.base_url):
        raise ConfigError(f"--graph {settings.graph} says what the prompt means: leave out --parser and its options")
    if settings.file is not None:
        _many(settings, notes)
        return
    if settings.out is not None:
        raise ConfigError(f"--out {settings.out} belongs to --file: give both, or use --json")
    check_free("--svg", settings.svg, settings.overwrite)
    graph = _one(settings)
    pairs = None if settings.tokenizer is None else _pairs(graph, load_tokenizer(settings.tokenizer))
    if settings.svg is not None:
        from ..report.graph_svg import draw

        write_text(settings.svg, draw(graph, pairs))
        say(notes, f"Drawing: {settings.svg}")
    if settings.json:
        console.file.write(as_json(graph, pairs) + "\n")
    elif settings.svg is None:
        console.print(as_tree(graph, pairs))


def _one(settings: Graph) -> SemanticGraph:
    if bool(settings.prompt) == (settings.graph is not None):
        raise ConfigError("give a PROMPT, or --graph FILE.json of one read before, or --file with many prompts")
    if settings.graph is not None:
        return options.read_graph(settings.graph)
    prompt, *more = options.read_prompts("dymo graph", settings.prompt)
    if more:
        raise ConfigError(f"{1 + len(more)} prompts: give one, or many with --file PROMPTS.txt --out GRAPHS.jsonl")
    reading = read(prompt)
    return reading.outside(load_parser(settings)(reading.text))


def _pairs(graph: SemanticGraph, tokenizer: Any) -> TokenPairs:
    """The positions of the graph's words where a run has them: weights taken out, a long prompt in several windows."""
    from ..prompt.tokens import frames, token_pairs

    return token_pairs(read(graph.prompt).inside(graph), tokenizer, windows=frames(tokenizer))


def _many(settings: Graph, notes: Console) -> None:
    """Write the graph of each prompt as a line, in their order; go on where an earlier run was cut off."""
    for name in ("prompt", "graph", "svg", "tokenizer"):
        if getattr(settings, name):
            said = "PROMPT" if name == "prompt" else f"--{name}"
            raise ConfigError(f"--file {settings.file}: {said} is for one prompt; leave it out")
    if settings.json:
        raise ConfigError(f"--file {settings.file}: --json prints one graph; leave it out, the lines of --out are JSON")
    if settings.file is None or settings.out is None:
        raise ConfigError(f"--file {settings.file}: say where the graphs go, with --out GRAPHS.jsonl")
    prompts = options.read_lines(settings.file)
    if settings.out.exists() and settings.out.samefile(settings.file):
        raise ConfigError(f"--out {settings.out}: this is the file of the prompts (--file); name another")
    done, length = (0, 0) if settings.overwrite else _done(settings.out, prompts)
    parser = load_parser(settings)
    if done:
        say(notes, f"{done} of {len(prompts)} are there already")
    try:
        settings.out.parent.mkdir(parents=True, exist_ok=True)
        with settings.out.open("ab") as file:
            file.truncate(length)
            readings = [read(prompt) for prompt in prompts[done:]]
            for reading, graph in zip(readings, parser.parse_many([r.text for r in readings]), strict=True):
                file.write(reading.outside(graph).to_json().encode() + b"\n")
                file.flush()
    except OSError as error:
        raise ConfigError(
            f"--out {settings.out}: cannot be written ({error}); name another file, or make room"
        ) from error
    say(notes, f"{len(prompts)} graphs: {settings.out}")


def _done(path: Path, prompts: Sequence[str]) -> tuple[int, int]:
    """How many graphs a file has of these prompts, and the bytes of their lines; a line that was cut off does not count.

    Raises ConfigError where it is not the file of these prompts.
    """
    from ..prompt.graph import SemanticGraph

    try:
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.decode("utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--out {path}: cannot be read ({error}); name another file") from error
    said, remedy = f"--out {path}: line", "name another file, or add --overwrite"
    for n, line in enumerate(lines):
        try:
            held = SemanticGraph.from_json(line).prompt
        except PromptError as error:
            raise ConfigError(f"{said} {n + 1} is no graph (", error, f"); {remedy}") from error
        wanted = prompts[n] if n < len(prompts) else None
        if held != wanted:
            there = "no further prompt" if wanted is None else repr(wanted)
            raise ConfigError(f"{said} {n + 1} is of {held!r}, but --file has {there} there; {remedy}")
    return len(lines), len(whole)


def as_json(graph: SemanticGraph, pairs: TokenPairs | None = None) -> str:
    """`graph.to_json()`; with pairs, their token positions under "tokens"."""
    if pairs is None:
        return graph.to_json()
    names = ("positive", "negative", "words", "truncated")
    tokens = {name: getattr(pairs, name) for name in names} | {"words": dict(pairs.words)}
    return json.dumps({**json.loads(graph.to_json()), "tokens": tokens}, ensure_ascii=False)


def as_tree(graph: SemanticGraph, pairs: TokenPairs | None = None) -> Tree:
    """The prompt; under it each thing with its character span, under that its attributes and relations; last the style and the weights.

    With pairs, each word has its token positions too, and the pairs that are drawn together or apart are counted.
    """
    from ..prompt.tokens import positions_by_span

    tree = Tree(Text(graph.prompt, style="bold"))
    positions = {} if pairs is None else positions_by_span(graph, pairs)
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
    if weighted := read(graph.prompt).weighted:
        tree.add(Text.assemble(("weights: ", "dim"), ", ".join(f"{run} {weight:.4g}" for run, weight in weighted)))
    if not graph.entities:
        tree.add(Text("names nothing: the semantic objective will have nothing to do", style="dim"))
    if pairs is not None:
        tree.add(Text(f"pairs: {len(pairs.positive)} together, {len(pairs.negative)} apart", style="dim"))
        if pairs.truncated:
            tree.add(Text(f"beyond the tokenizer's window: {', '.join(pairs.truncated)}", style="red"))
    return tree


def _word(text: str, span: Span, style: str, positions: dict[Span, tuple[int, ...]]) -> Text:
    parts: list[tuple[str, str]] = [(text, style), (f"  {span[0]}–{span[1]}", "dim")]
    if span in positions:
        parts.append((f"  tokens {', '.join(map(str, positions[span]))}", "dim"))
    return Text.assemble(*parts)
