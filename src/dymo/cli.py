"""The command `dymo`. Its options are declared in `commands/schema.py`; what the commands do is imported when called."""

from __future__ import annotations

import signal
from importlib import import_module
from inspect import getdoc
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from . import __version__
from .commands import schema
from .commands.notices import in_words, show, start_logging
from .commands.words import words_of
from .errors import DyMOError

REFUSED, INTERRUPTED = 2, 130
"""Exit codes: for input that cannot be used; after Ctrl-C, as of a process that the signal ended."""


_ctrl_c: list[int] = []
"""Signals of this process so far."""


class _Group(TyperGroup):
    """Says in one red line what was wrong with the input; a bug keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            typer.echo(f"Interrupted{f': {error}' if str(error) else ''}.", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            if _ctrl_c and not isinstance(error, typer.Exit):  # an import that it breaks off raises what it likes
                typer.echo("Interrupted.", err=True)
                raise typer.Exit(INTERRUPTED) from None
            if isinstance(error, DyMOError):
                show("Error", "red", error)
                raise typer.Exit(REFUSED) from None
            raise


def _typer(help: str | None, epilog: str | None = None, **more: Any) -> typer.Typer:
    return typer.Typer(
        cls=_Group, rich_markup_mode="markdown", pretty_exceptions_enable=False, help=help, epilog=epilog,
        context_settings={"help_option_names": ["-h", "--help"]}, **more,
    )  # fmt: skip


app = _typer(
    "Align the images of a diffusers text-to-image pipeline with their prompts as they are generated.",
    "Start with `dymo demo`: it needs no download. `dymo COMMAND --help` has examples.",
    no_args_is_help=True,
)


def _command(to: typer.Typer, name: str, kind: type[schema.Settings], work: str, *examples: str) -> None:
    """Add a command with the options of its kind of settings; without a name, what the group itself does.

    work: "module.function" of `commands`, imported when called; it takes the settings, a console for results (the standard
    output) and one for notes (the standard error). examples: "command — what it is for", shown in the help.
    """
    module, _, called = work.partition(".")

    def run(settings: schema.Settings) -> None:
        start_logging(settings)
        with in_words(words_of(kind)):
            found = import_module(f".commands.{module}", __package__)
            getattr(found, called)(settings, Console(), Console(stderr=True))

    shown = (" — ".join([f"`{line}`", *why]) for line, *why in (example.split(" — ") for example in examples))
    epilog = "\n\n".join(["Examples:", *shown]) if examples else None
    add = to.command(name, epilog=epilog) if name else to.callback(epilog=epilog, invoke_without_command=True)
    add(schema.with_options_of(kind, run))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dymo {__version__}")
        raise typer.Exit


@app.callback()
def _dymo(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


rewards, bench = _typer("The **reward models**: list, check.", no_args_is_help=True), _typer(getdoc(schema.Bench))
_command(
    app, "demo", schema.Demo, "demo.demo",
    "dymo demo — 16 prompts, a few minutes on two cores",
    "dymo demo --prompts 4 --outdir /tmp/demo — a quick look",
    "dymo demo --words — what the miniature can generate",
)  # fmt: skip
_command(
    app, "generate", schema.Generate, "generate.generate",
    'dymo generate "a red apple to the left of a green car" --seeds 0-3 --compare — the miniature, no download',
    'dymo generate "a teal owl beside a brass lamp" -m stable-diffusion-v1-5/stable-diffusion-v1-5 --scheduler ddim --steps 50',
    'dymo generate "..." -m stabilityai/stable-diffusion-xl-base-1.0 --preview-vae madebyollin/taesdxl --offload model',
    'dymo generate "..." -m checkpoint.safetensors --lora style.safetensors:0.8 --lora detail.safetensors',
    'dymo generate "..." -m FOLDER --preset thorough --set eta=[0.1,0.1,0.3] --budget-seconds 60',
    'dymo generate "..." --graph graph.json — a graph of `dymo graph "..." --json`, corrected by hand',
)  # fmt: skip
_command(
    app, "graph", schema.Graph, "graph.run",
    'dymo graph "a red apple and a green car, oil painting"',
    'dymo graph "a red apple and a green car" --json > graph.json',
    'dymo graph "a red apple and a green car" --tokenizer miniature --svg graph.svg',
    "dymo graph --file prompts.txt --out graphs.jsonl --parser llm --parser-model llama3.3 --base-url http://localhost:11434/v1",
)  # fmt: skip
_command(
    app, "maps", schema.Maps, "maps.maps",
    'dymo maps "a red apple and a green car" — of the embedded miniature',
    "dymo maps --file prompts.txt -m stabilityai/stable-diffusion-3.5-medium --json",
)  # fmt: skip
_command(
    app, "score", schema.Score, "score.score",
    "dymo score outputs/ --metrics mini-pickscore,mini-hps,judge — images of `dymo generate` carry their prompts",
    'dymo score a.jpg b.jpg --prompt "a red apple" --metrics pickscore,hpsv2.1,imagereward --out scores.csv',
    "dymo score images/ --prompts prompts.jsonl --metrics aesthetic --source aesthetic=/models/aesthetic --json",
)  # fmt: skip
app.add_typer(rewards, name="rewards")
_command(rewards, "list", schema.RewardsList, "rewards.show_list")
_command(
    rewards, "check", schema.RewardsCheck, "rewards.run_check",
    "dymo rewards check mini-pickscore",
    "dymo rewards check hpsv2 --source /models/HPS_v2_compressed.pt --images /images — with the authors' own",
)  # fmt: skip
app.add_typer(bench, name="bench")
_command(
    bench, "", schema.Bench, "bench.bench",
    "dymo bench --table 1 — the paper's table on the miniature, no download",
    "dymo bench --table 1 --pipeline stable-diffusion-v1-5/stable-diffusion-v1-5 — in the paper's own setting",
    "dymo bench --method plain --method best-of-n --method reno --budget-evaluations 100 --n 16",
    "accelerate launch -m dymo bench --config comparison.yaml — over GPUs and machines that share the folder",
    "dymo bench report runs/table-1-5e0c1f7a --versus DyMO",
)  # fmt: skip
_command(bench, "report", schema.BenchReport, "bench.report")


class _Default(_Group):
    """A group whose first command needs not be named: what is no command is its first argument."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)


study = _typer(getdoc(schema.Study), no_args_is_help=True)
app.add_typer(study, name="study", cls=_Default)
_command(
    study, "serve", schema.Study, "study.study",
    "dymo study runs/table-1-5e0c1f7a DyMO unguided — the pages, at http://localhost:7862",
    'dymo study RUN DyMO unguided FreeDoM --pairs 24 --question "Which image do you prefer?" --host 0.0.0.0',
)  # fmt: skip
_command(study, "report", schema.StudyReport, "study.report")
_command(
    app, "studio", schema.Studio, "studio.studio",
    "dymo studio — the miniature, at http://localhost:7861",
    "dymo studio -m stable-diffusion-v1-5/stable-diffusion-v1-5 --open",
)  # fmt: skip


def main() -> None:
    """Run the command of `sys.argv`."""

    def interrupt(number: int, _frame: Any) -> None:
        _ctrl_c.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    app()
