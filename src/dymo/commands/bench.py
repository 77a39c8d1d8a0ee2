"""`dymo bench`: a comparison from one YAML file, from options, or one of the paper's tables; and its report."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from ..errors import ConfigError
from ..report.outdir import check_outdir
from . import models, options

if TYPE_CHECKING:
    from ..bench.plan import Comparison
    from ..bench.runner import Progress
    from ..bench.store import Store

EVERY = 30.0
"""Seconds between lines of progress where there is no terminal."""
_CALL = {"steps": "num_inference_steps", "guidance_scale": "guidance_scale"}
_WHAT, _HOW, _MACHINE, _FILES = "Comparison", "Generation", "Machine", "Output"


def _option(help: str, *names: str, panel: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel)


app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode="markdown",
    epilog="Examples:\n\n"
    "`dymo bench --table 1` — the paper's table on the miniature, no download\n\n"
    "`dymo bench --table 1 --pipeline stable-diffusion-v1-5/stable-diffusion-v1-5` — in the paper's own setting\n\n"
    "`dymo bench --method plain --method best-of-n --method reno --budget-evaluations 100 --n 16`\n\n"
    "`accelerate launch -m dymo bench --config comparison.yaml` — over GPUs and machines that share the folder\n\n"
    "`dymo bench report runs/table-1-5e0c1f7a --versus DyMO`",
)


@app.callback()
def bench(
    ctx: typer.Context,
    config: Annotated[Path | None, _option("A whole comparison.", panel=_WHAT, metavar="FILE.yaml")] = None,
    table: Annotated[int | None, _option("One of the paper's tables, 1 to 4.", panel=_WHAT)] = None,
    methods: Annotated[
        list[str] | None,
        _option("A row: a method's name, or FILE.py:NAME; can be repeated.", "--method", panel=_WHAT, metavar="NAME"),
    ] = None,
    prompts: Annotated[
        str | None,
        _option(
            "miniature; a .txt, .jsonl or .parquet file; pick-a-pic, hpdv2, parti-prompts, drawbench, t2i-compbench; "
            "hub:OWNER/NAME:SPLIT:COLUMN. [default: miniature]", panel=_WHAT, metavar="SET",
        ),
    ] = None,
    n: Annotated[int | None, _option("How many prompts.", "--n", panel=_WHAT)] = None,
    seeds: Annotated[str | None, _option("As `0-3`. [default: 0]", panel=_WHAT)] = None,
    metrics: Annotated[str | None, _option("Rewards, and judge.", panel=_WHAT, metavar="A,B,...")] = None,
    versus: Annotated[str | None, _option("The row that the others are tested against.", panel=_WHAT, metavar="ROW")] = None,
    pipeline: Annotated[str | None, _option("[default: miniature]", panel=_HOW, metavar="ID_OR_PATH")] = None,
    unet: Annotated[str | None, _option("Another UNet in the pipeline.", panel=_HOW, metavar="ID_OR_PATH")] = None,
    lora: Annotated[str | None, _option("LoRA weights on the pipeline.", panel=_HOW, metavar="ID_OR_PATH")] = None,
    steps: Annotated[int | None, _option("Denoising steps.", panel=_HOW)] = None,
    guidance_scale: Annotated[float | None, _option("Classifier-free guidance.", panel=_HOW)] = None,
    scheduler: Annotated[str | None, _option("ddim, ddpm, euler or euler-ancestral.", panel=_HOW, metavar="NAME")] = None,
    reward: Annotated[str | None, _option("The reward that guides.", panel=_HOW, metavar="NAME")] = None,
    budget_evaluations: Annotated[int | None, _option("Per image, for each --method.", panel=_HOW, metavar="N")] = None,
    budget_seconds: Annotated[float | None, _option("Per image, for each --method.", panel=_HOW, metavar="S")] = None,
    engine: Annotated[Literal["local", "ray"], _option("local, or ray.", panel=_MACHINE)] = "local",
    address: Annotated[str | None, _option("Of the Ray cluster. [default: what RAY_ADDRESS says]", panel=_MACHINE)] = None,
    batch: Annotated[int | None, _option("Prompts generated together. [default: 1]", panel=_MACHINE)] = None,
    device: Annotated[str | None, _option("cuda, mps, cpu.", panel=_MACHINE)] = None,
    dtype: Annotated[str | None, _option("float32, float16 or bfloat16.", panel=_MACHINE)] = None,
    outdir: Annotated[Path | None, _option("Folder of the run. [default: runs/NAME-HASH, a folder a comparison]", panel=_FILES)] = None,
    extend: Annotated[bool, _option("Turn the comparison in --outdir into this one; images of both are kept.", "--extend", panel=_FILES)] = False,
) -> None:
    """Compare **methods x prompts x seeds x metrics**, DyMO among them, on any pipeline.

    Results are kept as they come: run the same command again to continue after a stop, or in a second shell to share the
    work. Ends with a report: tables with intervals and tests, score against cost, images, failures. Exit code 1 if an
    image failed.
    """
    if ctx.invoked_subcommand is None:
        given = {name: value for name, value in ctx.params.items() if value is not None}
        if run(given, Console()):
            raise typer.Exit(1)


@app.command("report")
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    versus: Annotated[str | None, typer.Option(metavar="ROW", help="The row that the others are tested against.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write it there. [default: RUN]")] = None,
) -> None:
    """Write the **report** of a run again: `report.html`, `report.md`, and `report/` with CSV, JSON and LaTeX."""
    _need_extra()
    from ..bench.plan import Comparison
    from ..bench.store import Store

    plan = Comparison.load(folder)
    names = [row.name for row in plan.rows]
    if versus is not None and versus not in names:
        raise ConfigError(f"--versus {versus!r} is no row: choose one of {', '.join(names)}")
    _write(plan, Store(folder), versus, out, Console())


def read_plan(given: dict[str, Any]) -> Comparison:
    """The comparison of --config, --table or --method, with the other options over it. Raises ConfigError."""
    from ..bench.plan import Comparison, read_table, read_yaml

    if sum(name in given for name in ("config", "table", "methods")) != 1:
        raise ConfigError("give one of --config FILE, --table 1 to 4, or --method NAME (repeated for more)")
    words = {name: "--" + name.replace("_", "-") for name in given}
    budget = {name: given[f"budget_{name}"] for name in ("evaluations", "seconds") if f"budget_{name}" in given}
    if budget and "methods" not in given:
        raise ConfigError(f"--budget-{next(iter(budget))} belongs to --method: a file or table sets budgets row by row")
    if "table" in given:
        data = read_table(given["table"], given.get("pipeline"))
    elif "config" in given:
        data = read_yaml(given["config"])
    else:
        data = {"rows": [{"method": method, **({"budget": budget} if budget else {})} for method in given["methods"]]}
        words |= {"rows": "--method"} | {f"rows.budget.{name}": f"--budget-{name}" for name in budget}
    data |= {name: given[name] for name in given if name in Comparison.model_fields and name not in ("seeds", "metrics", "prompts")}
    if "reward" in given:
        data.pop("guides", None)
    if "seeds" in given:
        data["seeds"] = options.read_seeds(given["seeds"])
    if "metrics" in given:
        data["metrics"] = [name.strip() for name in given["metrics"].split(",") if name.strip()]
    if called := {key: given[name] for name, key in _CALL.items() if name in given}:
        data["call"] = {**data.get("call", {}), **called}
    wanted = given.get("prompts", data.get("prompts", "miniature"))
    if "n" in given:
        words["prompts"] = "--n" if "prompts" not in given else "--prompts, --n"
        wanted = {"from": wanted} if isinstance(wanted, str) else wanted
        wanted = {**wanted, "n": given["n"]} if isinstance(wanted, dict) else wanted[: given["n"]]
    data["prompts"] = wanted
    return Comparison.read(data, words, str(given.get("config", "")))


def run(given: dict[str, Any], console: Console) -> bool:
    """Run the comparison or continue it, and write its report; whether images failed. Raises DyMOError.

    given: the options, without those that were not given. Every result that is there is whole.
    """
    _need_extra()
    from ..bench import runner
    from ..bench.store import open_run

    plan = read_plan(given)
    device = models.choose_device(given.get("device"))
    name = f"table-{given['table']}" if "table" in given else given["config"].stem if "config" in given else "bench"
    folder = given.get("outdir") or Path("runs") / f"{name}-{plan.mark}"
    check_outdir(folder)
    store, rank = open_run(folder, plan.model_dump_json(indent=1), given["extend"]), runner.rank_here()
    models.quiet_libraries()

    def load_on(device: str) -> Callable[[str], Any]:
        def load(name: str) -> Any:
            # A row's own pipeline comes with its own scheduler.
            scheduler = plan.scheduler if name == plan.pipeline else None
            return models.load_pipeline(None if name == "miniature" else name, scheduler, plan.dtype, device)

        return load

    if rank.rank == 0:
        store.note("command", " ".join(["dymo", *sys.argv[1:]]))
        console.print(f"{len(plan.rows)} rows, {len(plan.prompts)} prompts, {len(plan.seeds)} seeds, in {folder}", markup=False, highlight=False)
    if given["engine"] == "ray":
        runner.work_on_ray(plan, folder, load_on, given.get("address"))
    else:
        if "device" not in given and device == "cuda" and rank.world > 1:
            device = f"cuda:{rank.local}"
        with _Bar(console if rank.rank == 0 else Console(quiet=True)) as bar:
            runner.work_here(plan, store, load_on(device), device, rank, bar.update)
    return rank.rank == 0 and _write(plan, store, None, None, console)


def _write(plan: Comparison, store: Store, versus: str | None, out: Path | None, console: Console) -> bool:
    """Write the report and print its table; whether images failed."""
    from ..bench.report import write_report

    written = write_report(plan, store, versus, out)
    said = f"{written.table.to_text()}\n\n{written.summary}\n\nReport: {written.html}\n        {written.markdown}"
    console.print(said, markup=False, highlight=False, soft_wrap=True)
    return written.failed > 0


def _need_extra() -> None:
    """Raises ConfigError where the extra `bench` is not installed."""
    from ..bench.needs import need

    for module in ("pydantic", "yaml"):
        need(module)


class _Bar:
    """The progress of a run: a bar on a terminal; elsewhere a line every now and then."""

    def __init__(self, console: Console):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self.console, self.said = console, time.monotonic()
        columns = TextColumn("Generating"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False)
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task = self.bar.add_task("", total=None)

    def __enter__(self) -> _Bar:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def update(self, progress: Progress, left: float | None) -> None:
        words = "" if left is None else f"about {_clock(left)} left"
        self.bar.update(self.task, total=progress.total, completed=progress.done, description=words)
        if not self.console.is_terminal and time.monotonic() - self.said > EVERY:
            self.said = time.monotonic()
            self.console.print(f"{progress.done} of {progress.total} images, {words or 'estimating'}", markup=False, highlight=False)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
