"""Who may import whom: the picture of the design, held."""

import ast
from pathlib import Path

import pytest

import dymo

ROOT = Path(dymo.__file__).parent
FORBIDDEN = {
    "prompt": ("torch", "diffusers", "transformers", "dymo.pipelines", "dymo.rewards", "dymo.guidance"),
    "guidance": ("diffusers", "transformers", "dymo.pipelines", "dymo.rewards", "dymo.prompt", "dymo.trace", "warnings"),
    "pipelines": ("transformers", "dymo.rewards", "dymo.prompt", "dymo.aligner", "dymo.methods"),
    "rewards": ("diffusers", "dymo.guidance", "dymo.pipelines", "dymo.prompt", "dymo.miniature"),
    "methods": ("diffusers", "transformers", "dymo.bench", "dymo.miniature"),
}
ABOVE = ("dymo.commands", "dymo.cli", "dymo.report", "dymo.studio", "dymo.study", "dymo.comfy")


# Runs a model of transformers on request: it may import what it needs for that where it does so, never at its top.
LAZILY = {"prompt/local.py", "prompt/rewriter.py"}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, relative names made whole; of those in LAZILY only what its top imports."""
    package = ["dymo", *path.relative_to(ROOT).parts[:-1]]
    found = set()
    tree = ast.parse(path.read_text())
    for node in tree.body if path.relative_to(ROOT).as_posix() in LAZILY else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            found |= {whole, *(f"{whole}.{alias.name}" for alias in node.names)}
    return found


def under(name: str, root: str) -> bool:
    return name == root or name.startswith(f"{root}.")


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_knows_only_what_it_may(room):
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        wrong = {name for name in imports(path) for root in (*FORBIDDEN[room], *ABOVE) if under(name, root)}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_only_pipelines_and_the_edges_know_diffusers():
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0]
        if any(under(name, "diffusers") for name in imports(path)):
            assert room in ("pipelines", "miniature", "commands"), path


def test_only_the_loop_assigns_to_a_scheduler_a_denoiser_or_a_pipeline():
    """Also through setattr, patched(...) and object.__setattr__; reading is free."""
    names = {"scheduler", "denoiser", "pipe", "unet", "transformer"}
    for path in ROOT.rglob("*.py"):
        if path.relative_to(ROOT).as_posix() in ("pipelines/loop.py", "pipelines/inside.py", "pipelines/hold.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            for target in targets:
                if isinstance(target, ast.Attribute):
                    owner = target.value
                    name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
                    assert name not in names, f"{path.relative_to(ROOT)}:{node.lineno} assigns to {name}.{target.attr}"
            function = getattr(node, "func", None)
            if getattr(function, "id", getattr(function, "attr", "")) in ("setattr", "patched", "assign", "put_back"):
                first = node.args[0] if node.args else None
                name = getattr(first, "id", getattr(first, "attr", ""))
                assert name not in names, f"{path.relative_to(ROOT)}:{node.lineno} patches {name}"
