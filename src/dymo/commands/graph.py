"""`dymo graph`: what the parser understood of a prompt, as a small tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from rich.tree import Tree

if TYPE_CHECKING:
    from ..prompt.graph import SemanticGraph


def as_tree(graph: SemanticGraph) -> Tree:
    """The prompt; under it each thing with its character span, under that its attributes; last the style."""
    tree = Tree(Text(graph.prompt, style="bold"))
    for entity in graph.entities:
        branch = tree.add(_word(entity.text, entity.span, "cyan"))
        for attribute in entity.attributes:
            branch.add(_word(attribute.text, attribute.span, "green"))
    if graph.style:
        tree.add(Text.assemble(("style: ", "dim"), (", ".join(graph.style), "magenta")))
    if not graph.entities:
        tree.add(Text("names nothing: the semantic objective will have nothing to do", style="dim"))
    return tree


def _word(text: str, span: tuple[int, int], style: str) -> Text:
    return Text.assemble((text, style), (f"  {span[0]}–{span[1]}", "dim"))
