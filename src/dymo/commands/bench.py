"""`dymo bench`: a comparison from one YAML file, from options, or one of the paper's tables; and its report."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from ..errors import ConfigError, PromptError
from ..miniature import MINIATURE
from ..parts import Argument, Part
from ..report.outdir import check_outdir
from . import models, options
from .places import check_places, in_words_of_plan
from .screen import say

if TYPE_CHECKING:
    from ..bench.plan import Comparison
    from ..bench.runner import Progress
    from ..bench.store import Store
    from .schema import Bench, BenchReport

EVERY = 30.0
"""Seconds between lines of progress where there is no terminal."""
_KEYS = (
    "pipeline", "pipeline_config", "variant", "revision", "offload", "unet", "lora", "scheduler", "dtype", "reward", "batch", "versus",
)  # fmt: skip
"""The options that are keys of a plan as they are."""
_CALL = {"steps": "num_inference_steps", "guidance_scale": "guidance_scale"}


def bench(settings: Bench, console: Console, notes: Console) -> None:
    """Run the comparison or continue it, and write its report. Every result that is there is whole.

    Raises DyMOError where it cannot be run, and Exit with code 1 where images failed.
    """
    _need_extra()
    given = {name: value for name, value in vars(settings).items() if value not in (None, (), [])}
    models.check_choices(None, settings.dtype, auto=True)
    models.check_offload(settings.offload or "none", settings.device or "")
    plan = read_plan(given)
    check_words(plan, f"{settings.config}: " if settings.config else "")

    from ..bench import runner
    from ..bench.store import open_run

    device = models.choose_device(settings.device)
    with in_words_of_plan(lambda key: f"{settings.config}: {key}:", () if settings.offload else ("offload",)):
        models.check_offload(plan.offload or "none", device)
    models.quiet_libraries()
    check_calls(plan, f"{settings.config}: " if settings.config else "")
    name = f"table-{settings.table}" if settings.table else settings.config.stem if settings.config else "bench"
    folder = settings.outdir or Path("runs") / f"{name}-{plan.mark}"
    check_outdir(folder)
    rank = runner.rank_here()
    store = open_run(folder, plan.model_dump_json(indent=1), settings.extend)

    def load(device: str, name: str) -> Any:
        # A row's own pipeline comes with its own scheduler, from its own files.
        own = (plan.scheduler, plan.variant, plan.revision) if name == plan.pipeline else (None, None, None)
        scheduler, variant, revision = own
        return models.load_pipeline(
            None if name == MINIATURE else name, scheduler, plan.dtype, device, config=plan.pipeline_config, variant=variant,
            revision=revision, offload=plan.offload or "none",
        )  # fmt: skip

    def load_on(device: str) -> Callable[[str], Any]:
        return partial(load, device)

    if rank.rank == 0:
        store.note("command", " ".join(["dymo", *sys.argv[1:]]))
        size = f"{len(plan.rows)} rows, {len(plan.prompts)} prompts, {len(plan.seeds)} seeds"
        say(console, f"{size}, in {folder}")
    if settings.engine == "ray":
        runner.work_on_ray(plan, folder, load_on, settings.address)
    else:
        if settings.device is None and device == "cuda" and rank.world > 1:
            device = f"cuda:{rank.local}"
        kept: list[Progress] = []

        def shown(progress: Progress, update: Callable[[Progress], None]) -> None:
            kept[:] = [progress]
            update(progress)

        try:
            with _shown(console if rank.rank == 0 else Console(quiet=True)) as update:
                runner.work_here(plan, store, load_on(device), device, rank, partial(shown, update=update))
        except KeyboardInterrupt:
            done = f"{kept[0].done} of {kept[0].total}" if kept else "no"
            raise KeyboardInterrupt(f"{done} images are in {folder}; run the same command again to go on") from None
    if rank.rank == 0 and _write(plan, store, None, None, console):
        raise typer.Exit(1)


def report(settings: BenchReport, console: Console, notes: Console) -> None:
    """Write the report of a run again, and end as the run did. Raises ConfigError where the folder holds no run, or `versus` is no row of it."""
    _need_extra()
    from ..bench.plan import Comparison
    from ..bench.store import Store

    plan, versus = Comparison.load(settings.run), settings.versus
    names = [row.name for row in plan.rows]
    if versus is not None and versus not in names:
        raise ConfigError(f"--versus {versus!r} is no row: choose one of {', '.join(names)}")
    if _write(plan, Store(settings.run), versus, settings.out, console):
        raise typer.Exit(1)


def read_plan(given: dict[str, Any]) -> Comparison:
    """The comparison of --config, --table or --method, with the other options over it. Raises ConfigError."""
    from ..bench.reading import read_table, read_yaml

    if sum(name in given for name in ("config", "table", "methods")) != 1:
        raise ConfigError("give one of --config FILE, --table 1 to 4, or --method NAME (repeated for more)")
    words = {name: "--" + name.replace("_", "-") for name in given}
    budget = {name: given[f"budget_{name}"] for name in ("evaluations", "seconds") if f"budget_{name}" in given}
    if budget and "methods" not in given:
        raise ConfigError(f"--budget-{next(iter(budget))} belongs to --method: a file or table sets budgets row by row")
    if "best-of-n" in given.get("methods", ()) and not budget:
        raise ConfigError("--method best-of-n has no end without a budget: add --budget-evaluations or --budget-seconds")
    if "table" in given:
        data = read_table(given["table"], given.get("pipeline"))
    elif "config" in given:
        data = read_yaml(given["config"])
    else:
        data = {"rows": [{"method": method, **({"budget": budget} if budget else {})} for method in given["methods"]]}
        words |= {"rows": "--method"} | {f"rows.budget.{name}": f"--budget-{name}" for name in budget}
    data |= {name: given[name] for name in _KEYS if name in given}
    if len(given.get("lora", ())) == 1:  # as a plan writes it
        data["lora"] = given["lora"][0]
    if "reward" in given:
        data.pop("guides", None)
    if "seeds" in given:
        data["seeds"] = options.read_seeds(given["seeds"])
    if "metrics" in given:
        data["metrics"] = [name.strip() for name in given["metrics"].split(",") if name.strip()]
    if called := {key: given[name] for name, key in _CALL.items() if name in given}:
        data["call"] = {**data.get("call", {}), **called}
        words |= {f"call.{_CALL[name]}": words[name] for name in _CALL if name in given}
    wanted = given.get("prompts", data.get("prompts", MINIATURE))
    if "n" in given:
        words["prompts"] = "--n" if "prompts" not in given else "--prompts, --n"
        wanted = {"from": wanted} if isinstance(wanted, str) else wanted
        wanted = {**wanted, "n": given["n"]} if isinstance(wanted, dict) else wanted[: given["n"]]
    data["prompts"] = wanted
    check_places(data, words, str(given.get("config", "")))
    # Imported now: the methods bring torch.
    from ..bench.plan import Comparison

    return Comparison.read(data, words, str(given.get("config", "")))


def check_words(plan: Comparison, where: str = "") -> None:
    """Raises PromptError on a prompt that the embedded miniature cannot draw, where a row generates with it."""
    from ..prompt.reading import read

    if not any((row.pipeline or plan.pipeline) == MINIATURE for row in plan.rows):
        return
    for prompt in plan.prompts:
        try:
            options.check_miniature_words(read(prompt).text)
        except PromptError as error:
            raise PromptError(where, error) from error


def check_calls(plan: Comparison, where: str = "") -> None:
    """Raises ConfigError on what the pipeline or sampler of a row does not take, as far as a model's configuration tells without weights."""
    from ..bench.rows import OF_THE_BENCH
    from ..pipelines.checks import check_arguments, check_steps
    from ..pipelines.variants import make_scheduler

    outlines: dict[str, tuple[type | None, Any]] = {}
    for row in plan.rows:
        name = row.pipeline or plan.pipeline
        if name not in outlines:
            model, revision = None if name == MINIATURE else name, plan.revision if name == plan.pipeline else None
            outlines[name] = models.outline(model, plan.pipeline_config, revision)
        kind, scheduler = outlines[name]
        call = plan.call_of(row)
        sampler, key = row.scheduler or (plan.scheduler if name == plan.pipeline else None), "scheduler"
        try:
            if scheduler is not None and sampler is not None:
                scheduler = make_scheduler(sampler, scheduler)
            key = "call"
            if kind is not None:
                check_arguments(kind, call, withheld=OF_THE_BENCH)
            key = "call.num_inference_steps"
            check_steps(scheduler, call.get("num_inference_steps"))
        except ConfigError as error:
            raise ConfigError(f"{where}row {row.name!r}, {key}: ", error.in_words(_value_of_steps)) from error


def _value_of_steps(part: Part) -> str | None:
    """What a message says of the steps where their key stands before it."""
    return str(part.value) if isinstance(part, Argument) and part.name == "num_inference_steps" else None


def _write(plan: Comparison, store: Store, versus: str | None, out: Path | None, console: Console) -> bool:
    """Write the report and print its table; whether images failed."""
    from ..bench.report import write_report

    written = write_report(plan, store, versus, out)
    failures = "".join(f"\n- {reason}" for reason in written.failures)
    say(
        console, f"{written.table.to_text()}\n\n{written.summary}{failures}\n\nReport: {written.html}\n        {written.markdown}"
    )
    return bool(written.failures)


def _need_extra() -> None:
    """Raises ConfigError where the extra `bench` is not installed."""
    from ..bench.needs import need

    for module in ("pydantic", "yaml"):
        need(module)


@contextmanager
def _shown(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Show the progress of a run: a bar on a terminal; elsewhere a line every now and then."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = TextColumn("Generating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    said = time.monotonic()
    # Rows differ in what an image costs: the speed is a mean over an hour.
    bar = Bar(*columns, console=console, transient=True, disable=not console.is_terminal, speed_estimate_period=3600)
    with bar:
        task = bar.add_task("", total=None)

        def update(progress: Progress) -> None:
            nonlocal said
            bar.update(task, total=progress.total, completed=progress.done)
            if not console.is_terminal and time.monotonic() - said > EVERY:
                said, left = time.monotonic(), bar.tasks[0].time_remaining
                words = "" if left is None else f", about {timedelta(seconds=round(left))} left"
                say(console, f"{progress.done} of {progress.total} images{words}")

        yield update
