"""`dymo study`: people compare the images of a bench run two by two; and what they said."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ..errors import ConfigError
from .screen import say
from .web import need_extra, serve

if TYPE_CHECKING:
    from .schema import Study, StudyReport


def study(settings: Study, console: Console, notes: Console) -> None:
    """Serve the pages of the study until Ctrl-C. Raises ConfigError where there is nothing to compare."""
    need_extra()
    from ..study.answers import Answers
    from ..study.server import application

    design, images = read_run(settings)
    answers = Answers(settings.answers or answers_of(settings.run))
    answers.open(design)
    per = f"{design.each} pairs and {len(_trials(design)) - design.each} checks a rater"
    say(console, f"{' · '.join(design.rows)}: {len(design.pairs)} pairs, {per}", f"Answers: {answers.path}")
    serve(application(answers, images), settings.host, settings.port, console)
    say(console, f"{len(answers.raters())} raters have begun. The result: dymo study report {settings.run}")


def report(settings: StudyReport, console: Console, notes: Console) -> None:
    """Write the report of the answers there are. Raises ConfigError where there is no study."""
    need_extra()
    from ..study.answers import Answers
    from ..study.outcome import outcome
    from ..study.report import write_report

    path = settings.answers or answers_of(settings.run)
    if not path.is_file():
        raise ConfigError(
            f"{path}: there are no answers; run dymo study {settings.run} ROW_A ROW_B first, or name --answers"
        )
    written = write_report(outcome(Answers(path)), settings.out or settings.run)
    say(
        console,
        *([written.table.to_text(), ""] if written.table.rows else []),
        written.summary,
        f"Report: {written.markdown}",
        f"Figure: {written.figure}",
    )


def answers_of(run: Path) -> Path:
    """Where the answers of a run are kept unless said otherwise."""
    return run / "study.sqlite"


def read_run(settings: Study) -> tuple[Any, dict[tuple[int, str, int], Path]]:
    """The design, and the image of each row, prompt and seed. Nothing of the run is changed. Raises ConfigError."""
    from ..bench.plan import Comparison
    from ..bench.results import collect
    from ..bench.store import Store
    from ..study.design import make_design

    plan = Comparison.load(settings.run)
    results = collect(plan, Store(settings.run))
    for result in results:
        result.images = {case: path for case, path in result.images.items() if path.is_file()}
    design = make_design(plan, results, settings.rows, settings.question, settings.pairs, settings.seed)
    by_name = {result.row.name: result for result in results}
    images = {(n, *case): path for n, row in enumerate(design.rows) for case, path in by_name[row].images.items()}
    return design, images


def _trials(design: Any) -> list[Any]:
    from ..study.design import trials_of

    return trials_of(design, "")
