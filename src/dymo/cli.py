"""The command `dymo`. Its options are declared in `commands/schema.py`; what the commands do is imported when called."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from .commands import schema
from .commands.notices import plain_warnings, show_error, start_logging
from .errors import DyMOError

REFUSED, INTERRUPTED = 2, 130
"""Exit codes: for input that cannot be used; after Ctrl-C, as of a process that the signal ended."""


class _Group(TyperGroup):
    """Says in one red line what was wrong with the input, and warns in a yellow one; a bug keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with plain_warnings():
                return super().invoke(ctx)
        except DyMOError as error:
            show_error(error)
            raise typer.Exit(REFUSED) from None
        except KeyboardInterrupt as error:
            typer.echo(f"Interrupted{f': {error}' if str(error) else ''}.", err=True)
            raise typer.Exit(INTERRUPTED) from None


def _typer(help: str, epilog: str | None = None, **more: Any) -> typer.Typer:
    return typer.Typer(
        cls=_Group, rich_markup_mode="markdown", pretty_exceptions_enable=False, help=help, epilog=epilog,
        context_settings={"help_option_names": ["-h", "--help"]}, **more,
    )  # fmt: skip


app = _typer(
    "Align the images of a diffusers text-to-image pipeline with their prompts as they are generated.",
    "Start with `dymo demo`: it needs no download. `dymo COMMAND --help` has examples.",
    no_args_is_help=True,
)
rewards = _typer("The **reward models**: list, check.", no_args_is_help=True)
app.add_typer(rewards, name="rewards")


def _command(to: typer.Typer, kind: type[schema.Settings], *examples: str, **more: Any) -> Any:
    """Make a function of settings a command, with the options of their kind; "command — why" for each example."""
    epilog = "Examples:\n\n" + "\n\n".join(
        " — ".join([f"`{line}`", *why]) for line, *why in (example.split(" — ") for example in examples)
    )

    def register(work: Callable[[schema.Settings], None]) -> None:
        def logged(settings: schema.Settings) -> None:
            start_logging(settings)
            work(settings)

        logged.__name__, logged.__doc__ = work.__name__, work.__doc__
        to.command(epilog=epilog if examples else None, **more)(schema.with_options_of(kind, logged))

    return register


def _consoles() -> tuple[Console, Console]:
    """For results, the standard output; for estimates and progress, the standard error."""
    return Console(), Console(stderr=True)


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"dymo {metadata.version('dymo-diffusion')}")
        except metadata.PackageNotFoundError:
            typer.echo("dymo, version unknown: it is run from its sources and not installed")
        raise typer.Exit


@app.callback()
def dymo(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@_command(
    app,
    schema.Demo,
    "dymo demo — 16 prompts, a few minutes on two cores",
    "dymo demo --prompts 4 --outdir /tmp/demo — a quick look",
    "dymo demo --words — what the miniature can generate",
)
def demo(settings: schema.Demo) -> None:
    """Generate with the **embedded miniature**, unguided and aligned with the same seeds, and show by how much it helped.

    Writes the images, a contact sheet, the traces with their plots, `report.html` and `report.md`; prints the table:
    the guiding reward, a held-out reward, the accuracy by an independent judge, evaluations and seconds.
    """
    from .commands.demo import demo as run

    run(settings, *_consoles())


@_command(
    app,
    schema.Generate,
    'dymo generate "a red apple to the left of a green car" --seeds 0-3 --compare — the miniature, no download',
    'dymo generate "a teal owl beside a brass lamp" -m stable-diffusion-v1-5/stable-diffusion-v1-5 --scheduler ddim --steps 50',
    'dymo generate "..." -m stabilityai/stable-diffusion-xl-base-1.0 --preview-vae madebyollin/taesdxl --offload model',
    'dymo generate "..." -m checkpoint.safetensors --lora style.safetensors:0.8 --lora detail.safetensors',
    'dymo generate "..." -m FOLDER --preset thorough --set eta=[0.1,0.1,0.3] --budget-seconds 60',
    'dymo generate "..." --graph graph.json — a graph from `dymo graph "..." --json`, corrected by hand',
)
def generate(settings: schema.Generate) -> None:
    """Generate images of prompts with a pipeline **guided by DyMO**.

    For every prompt and seed: a PNG that carries its parameters, the trace as JSON, and its plot. Files that are there
    already are kept: the new ones get a number. Bad input is refused before the model is loaded, with exit code 2.
    """
    from .commands.generate import generate as run

    run(settings, *_consoles())


@_command(
    app,
    schema.Graph,
    'dymo graph "a red apple and a green car, oil painting"',
    'dymo graph "a red apple and a green car" --json > graph.json',
    'dymo graph "a red apple and a green car" --tokenizer miniature --svg graph.svg',
    "dymo graph --file prompts.txt --out graphs.jsonl --parser llm --parser-model llama3.3 --base-url http://localhost:11434/v1",
)
def graph(settings: schema.Graph) -> None:
    """Show **what the parser understood**: the things a prompt names, their attributes and relations, and its style."""
    from .commands.graph import run

    run(settings, *_consoles())


@_command(rewards, schema.RewardsList, name="list")
def list_rewards(settings: schema.RewardsList) -> None:
    """Say of each reward what it measures, its range, licence and size, whether it reads the timestep, and if it can guide."""
    from .commands.rewards import listing
    from .commands.tables import as_json, show_table

    if settings.json:
        typer.echo(as_json(listing()))
    else:
        show_table(listing(), Console())


@_command(
    rewards,
    schema.RewardsCheck,
    "dymo rewards check mini-pickscore",
    "dymo rewards check hpsv2 --source /models/HPS_v2_compressed.pt --images /images — with the authors' own",
)
def check(settings: schema.RewardsCheck) -> None:
    """Load a reward, try it on **two supplied images**, and compare it with published scores where these are known.

    Exit code 1 if something does not hold.
    """
    from .commands.rewards import check as run

    if not run(settings.name, settings.source, settings.images, settings.device, settings.dtype, Console()):
        raise typer.Exit(1)


@_command(
    app,
    schema.Score,
    "dymo score outputs/ --metrics mini-pickscore,mini-hps,judge — images of `dymo generate` carry their prompts",
    'dymo score a.jpg b.jpg --prompt "a red apple" --metrics pickscore,hpsv2.1,imagereward --out scores.csv',
    "dymo score images/ --prompts prompts.jsonl --metrics aesthetic --source aesthetic=/models/aesthetic --json",
)
def score(settings: schema.Score) -> None:
    """Score images with **reward models**, and print a table."""
    from .commands.score import score as run

    run(settings, *_consoles())


bench_app = _typer(
    "Compare **methods x prompts x seeds x metrics**, DyMO among them, on any pipeline.\n\n"
    "Results are kept as they come: run the same command again to resume, or in a second shell to share the work. "
    "Ends with a report: tables with intervals and tests, score against cost, images, failures.",
    "Examples:\n\n"
    "`dymo bench --table 1` — the paper's table on the miniature, no download\n\n"
    "`dymo bench --table 1 --pipeline stable-diffusion-v1-5/stable-diffusion-v1-5` — in the paper's own setting\n\n"
    "`dymo bench --method plain --method best-of-n --method reno --budget-evaluations 100 --n 16`\n\n"
    "`accelerate launch -m dymo bench --config comparison.yaml` — over GPUs and machines that share the folder\n\n"
    "`dymo bench report runs/table-1-5e0c1f7a --versus DyMO`",
    invoke_without_command=True,
)
app.add_typer(bench_app, name="bench")


def bench(settings: schema.Bench) -> None:
    """Run a comparison."""
    from .commands.bench import bench as run

    start_logging(settings)
    run(settings, Console())


bench_app.callback()(schema.with_options_of(schema.Bench, bench))


@_command(bench_app, schema.BenchReport, name="report")
def bench_report(settings: schema.BenchReport) -> None:
    """Write the **report** of a run anew: `report.html`, which opens without a server, and `report.md`."""
    from .commands.bench import report

    report(settings.run, settings.versus, settings.out, Console())


def main() -> None:
    """The entry point."""
    app()
