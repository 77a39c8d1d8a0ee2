"""`dymo bench`: a comparison from one YAML file, from flags, or one of the paper's tables; and its report."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from rich.console import Console

from ..errors import ConfigError
from ..miniature import MINIATURE_DEFAULTS
from ..report.outdir import check_outdir
from . import models, options

Engine = Literal["local", "ray"]
EVERY = 30.0
"""Seconds between lines of progress where there is no terminal."""
_PLAN = ("pipeline", "reward", "scheduler", "dtype", "unet", "lora", "batch", "versus")


@dataclass(frozen=True)
class Request:
    """What the command line asked for; None is not given."""

    config: Path | None = None
    table: int | None = None
    methods: Sequence[str] = ()
    pipeline: str | None = None
    prompts: str | None = None
    n: int | None = None
    seeds: str | None = None
    metrics: str | None = None
    reward: str | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    budget_evaluations: int | None = None
    budget_seconds: float | None = None
    scheduler: str | None = None
    dtype: str | None = None
    unet: str | None = None
    lora: str | None = None
    batch: int | None = None
    versus: str | None = None
    device: str | None = None
    engine: str = "local"
    address: str | None = None
    outdir: Path | None = None


def plan_of(request: Request) -> Any:
    """The plan: the file's, the table's, or that of the flags, with the flags over it. Raises ConfigError."""
    from ..bench import plan as plans
    from ..bench.presets import table
    from ..bench.prompts import load_prompts

    if sum((request.config is not None, request.table is not None, bool(request.methods))) != 1:
        raise ConfigError("give one of --config FILE, --table 1 to 4, or --method NAME (repeated for more)")
    models.check_choices(request.scheduler, request.dtype)
    options.check_positive(
        n=request.n, batch=request.batch, steps=request.steps, budget_evaluations=request.budget_evaluations,
        budget_seconds=request.budget_seconds,
    )  # fmt: skip
    seeds = None if request.seeds is None else tuple(options.read_seeds(request.seeds))
    given = {name: getattr(request, name) for name in _PLAN if getattr(request, name) is not None}
    if request.metrics is not None:
        given["metrics"] = tuple(name.strip() for name in request.metrics.split(",") if name.strip())
    call = {"num_inference_steps": request.steps, "guidance_scale": request.guidance_scale}
    call = {name: value for name, value in call.items() if value is not None}
    budget = {"evaluations": request.budget_evaluations, "seconds": request.budget_seconds}
    budget = {name: value for name, value in budget.items() if value is not None}
    if request.table is not None:
        if request.prompts is not None or budget:
            raise ConfigError("--table sets its prompts and budgets itself: leave out --prompts and --budget-*")
        found = table(request.table, request.pipeline or "miniature", request.n, seeds or (0,), call)
        return dataclasses.replace(found, **given)
    data = {} if request.config is None else plans.read_yaml(request.config)
    data |= given
    if request.methods:
        data["rows"] = [{"method": m, "budget": budget or None} for m in request.methods]
    mini = data.setdefault("pipeline", "miniature") == "miniature"
    data.setdefault("reward", "mini-pickscore" if mini else "pickscore")
    data.setdefault("metrics", ("mini-pickscore", "mini-hps", "judge") if mini else ("pickscore", "hpsv2.1"))
    reward = data["reward"]
    data.setdefault("guides", list(reward) if isinstance(reward, dict) else [reward])
    data["call"] = {**(MINIATURE_DEFAULTS if mini else {}), **(data.get("call") or {}), **call}
    if seeds is not None:
        data["seeds"] = seeds
    wanted = request.prompts or data.get("prompts") or "miniature"
    if isinstance(wanted, dict):
        n = request.n or wanted.get("n")
        data["prompts"] = load_prompts(str(wanted.get("from", "miniature")), n, int(wanted.get("seed", 0)))
    elif isinstance(wanted, str):
        data["prompts"] = load_prompts(wanted, request.n)
    elif request.n is not None:
        data["prompts"] = list(wanted)[: request.n]
    return plans.Plan.from_dict(data)


def bench(request: Request, console: Console) -> None:
    """Run the plan, or go on with it, and write its report. Raises DyMOError; every result that is there is whole."""
    from ..bench import engines
    from ..bench.store import Store

    if request.engine not in get_args(Engine):
        raise ConfigError(f"--engine {request.engine!r}: choose one of {', '.join(get_args(Engine))}")
    plan = plan_of(request)
    folder = request.outdir or Path("runs") / (f"table-{request.table}" if request.table else "bench")
    check_outdir(folder)
    store, place = Store(folder), engines.place_here()
    if place.rank == 0:
        store.save_plan(plan.to_json())
    models.quiet_libraries()

    def load_on(device: str) -> Callable[[str], Any]:
        def load(name: str) -> Any:
            # A row's own pipeline comes with its own scheduler.
            scheduler = plan.scheduler if name == plan.pipeline else None
            return models.load_pipeline(None if name == "miniature" else name, scheduler, plan.dtype, device)

        return load

    if request.engine == "ray":
        console.print("Working on the Ray cluster …", markup=False, highlight=False)
        progress, missing = engines.work_on_ray(plan, folder, load_on, request.address)
    else:
        device = models.choose_device(request.device)
        if request.device is None and device == "cuda" and place.world > 1:
            device = f"cuda:{place.local}"
        show = _Shown(console) if place.rank == 0 else None
        try:
            progress, missing = engines.work_here(plan, folder, load_on, device, place, show)
        finally:
            if show is not None:
                show.close()
    if place.rank == 0:
        if progress.failed:
            console.print(f"{progress.failed} pictures could not be painted: the report lists them", markup=False)
        _report(folder, plan, None, None, _command(), missing, console)


def report(folder: Path, versus: str | None, out: Path | None, console: Console) -> None:
    """Write the report of a run anew, from what its store holds."""
    from ..bench.plan import Plan

    plan = Plan.load(folder / "plan.json")
    if versus is not None and versus not in [row.name for row in plan.rows]:
        raise ConfigError(f"--versus {versus!r} is no row: choose one of {', '.join(row.name for row in plan.rows)}")
    notes = folder / "run.json"
    told = json.loads(notes.read_text(encoding="utf-8")) if notes.is_file() else {}
    _report(folder, plan, versus, out, told.get("command", ""), told.get("missing", {}), console)


def _report(
    folder: Path,
    plan: Any,
    versus: str | None,
    out: Path | None,
    command: str,
    missing: dict[str, str],
    console: Console,
) -> None:
    from ..bench.report import table, write_report
    from ..bench.results import collect
    from ..bench.store import Store
    from ..report.atomic import write_text

    store = Store(folder)
    if out is None:
        write_text(folder / "run.json", json.dumps({"command": command, "missing": missing}))
    page, text = write_report(plan, store, versus, command, missing, out)
    results = collect(plan, store)
    shown = [name for name in plan.metrics if any(r.values.get(name) for r in results)]
    console.print(table(results, plan, shown).to_text(), markup=False, highlight=False, soft_wrap=True)
    for name, reason in {**missing, **plan.left_out}.items():
        console.print(f"left out: {name} ({reason})", markup=False, highlight=False, soft_wrap=True)
    console.print(f"\nReport: {page}\n        {text}", markup=False, highlight=False, soft_wrap=True)


def _command() -> str:
    return " ".join(["dymo", *sys.argv[1:]])


class _Shown:
    """The bar of a run on a terminal; elsewhere a line every now and then."""

    def __init__(self, console: Console):
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        self.console, self.said = console, 0.0
        self.bar = Bar(
            TextColumn("Painting"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}", markup=False),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self.bar.start()
        self.task = self.bar.add_task("", total=None, left="")

    def __call__(self, progress: Any, left: float | None) -> None:
        words = "" if left is None else f"about {_clock(left)} left"
        self.bar.update(self.task, total=progress.total, completed=progress.done, left=words)
        now = time.monotonic()
        if not self.console.is_terminal and now - self.said > EVERY:
            self.said = now
            said = f"{progress.done} of {progress.total} pictures, {words or 'estimating'}"
            self.console.print(said, markup=False, highlight=False)

    def close(self) -> None:
        self.bar.stop()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
