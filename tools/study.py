"""Simulated raters in a real study: they open the pages of `dymo study` and answer by the judge, with noise.

    python -m tools.study RUN ROW_A ROW_B ...     20 raters, and one who always presses 0
    python -m tools.study --coverage              how often the interval holds the true win rate, of 100 studies

A rater presses the image that the judge finds right (both or none: no difference), in some answers anything. No person is
invented by this: its answers go into a file of their own, to be thrown away.
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from dymo.commands.schema import Study
from dymo.commands.study import read_run
from dymo.study.answers import Answers
from dymo.study.design import Trial, trials_of
from dymo.study.outcome import Outcome, outcome
from dymo.study.report import write_report
from dymo.study.server import application

SLIPS = 0.1
Value = Callable[[int, str, int], float]
"""(row, prompt, seed) -> how good the rater finds the image."""


def rate(
    app, answers: Answers, value: Value, n: int, slips: float = SLIPS, looks: bool = True, most: int | None = None
) -> str:
    """One rater goes through the pages. looks: otherwise always presses 0. Returns the rater's word."""
    from starlette.testclient import TestClient

    rng, design = random.Random(f"rater {n}"), answers.design
    with TestClient(app) as client:
        page = client.post("/start")
        rater = page.url.path.removeprefix("/r/")
        trials = {trial.mark: trial for trial in trials_of(design, rater)}
        while (found := re.search(r'name="trial" value="(\d+)"', page.text)) and (most is None or most > 0):
            trial = trials[found[1]]
            pressed = pressed_by(trial, value, design, rng, slips) if looks else "0"
            page = client.post(f"/r/{rater}", data={"trial": trial.mark, "answer": pressed, "milliseconds": "1500"})
            most = most if most is None else most - 1
    return rater


def pressed_by(trial: Trial, value: Value, design, rng: random.Random, slips: float) -> str:
    """The key for the better image."""
    pair = design.pairs[trial.pair]
    first = value(pair.first, pair.prompt, pair.seed)
    second = {"same": first, "broken": -1.0, "pair": value(pair.second, pair.prompt, pair.seed)}[trial.kind]
    if trial.kind == "pair" and rng.random() < slips:
        return rng.choice("012")
    if first == second:
        return "0"
    return "1" if (first > second) != trial.flipped else "2"


def judged(images) -> Value:
    """1 where the miniature's judge finds the image right, else 0."""
    from PIL import Image

    from dymo.pixels import from_pil
    from dymo.rewards import load_reward

    reward, held = load_reward("judge"), {}

    def value(row: int, prompt: str, seed: int) -> float:
        key = row, prompt, seed
        if key not in held:
            with Image.open(images[key]) as image:
                held[key] = float(reward.score(from_pil([image]), [prompt])[0])
        return held[key]

    return value


def study(run: Path, rows: list[str], raters: int, out: Path) -> Outcome:
    """Raters who look, and one who does not, on the images of a run; writes the report into `out`."""
    design, images = read_run(Study(run=run, rows=rows))
    answers = Answers(out / "simulated.sqlite")
    answers.open(design)
    app, value = application(answers, images), judged(images)
    for n in range(raters):
        rate(app, answers, value, n)
    rate(app, answers, value, raters, looks=False)
    found = outcome(answers)
    print(write_report(found, out).table.to_text(), found.left_out, sep="\n")
    return found


def coverage(studies: int = 100, raters: int = 20, prompts: int = 24) -> int:
    """In how many studies the interval holds the true win rate. The judge's verdicts are drawn with its measured rates.

    Of 64 prompts and three seeds the judge finds 60.9 % of the unguided images right, and 84.9 % of the aligned ones
    (docs/quality.md).
    """
    import numpy as np

    from dymo.study.outcome import Vote, interval

    right, rng, inside = (0.849, 0.609), np.random.default_rng(0), 0
    truth = 0.5 + (1 - SLIPS) * (right[0] - right[1]) / 2
    for _ in range(studies):
        verdicts = rng.random((prompts, 2)) < right
        votes = []
        for p, (first, second) in enumerate(verdicts):
            for r in range(raters):
                slip = rng.random() < SLIPS
                value = rng.choice([0.0, 0.5, 1.0]) if slip else 0.5 + (float(first) - float(second)) / 2
                votes.append(Vote(f"r{r}", f"p{p}", 0, 1, float(value)))
        low, high = interval(votes)
        inside += low <= truth <= high
    return inside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("rows", nargs="*")
    parser.add_argument("--raters", type=int, default=20)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--coverage", action="store_true")
    given = parser.parse_args()
    if given.coverage:
        print(f"the true win rate lies in the interval in {coverage()} of 100 studies of 20 raters and 24 prompts")
    if given.run:
        study(given.run, given.rows, given.raters, given.out or Path(tempfile.mkdtemp()))


if __name__ == "__main__":
    main()
