"""What each part of the method is worth, on held-out prompts of two objects that no setting was tuned on.

    python -m tools.quality [--quick] [--prompts 64] [--seeds 3] [--out docs/quality.md] [--json runs/quality.json]

Every arm starts from the same seeds, three a prompt. "Both + time travel" is the preset "fast", whose preference
gradient is straight-through; "thorough" is that preset; each row under them changes one thing of "fast". Differences
are to the unguided pictures, with paired bootstrap 95 % intervals over the prompts (a prompt's seeds are averaged
first); the changed rows are on the first half of the prompts, and their differences to "both + time travel" stand
below the table. Best-of-N gets at least as many seconds as "both + time travel" took. Arms are kept in `--cache` as they
end, so that a run that is cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from dymo import DyMO, load_miniature
from dymo.miniature import MINIATURE_DEFAULTS, WEIGHTS, load_tiny_decoder
from dymo.miniature.world import captions
from dymo.report.atomic import write_text
from dymo.report.interval import Interval, paired_bootstrap
from dymo.report.table import Column, Table

from .arm import Arm, Bench

FULL, THOROUGH = "both + time travel", "thorough"
SEED = 1000
USED = ("judge", "mini-hps", "mini-pickscore", "pipeline", "taesd")
"""The weights that a figure of this benchmark depends on."""


def aligners() -> dict[str, Callable[[], DyMO | None]]:
    """Row -> how it is made. All rows are the preset "fast" with the full decoder, but for what their name says."""

    def fast(reward: str | None = "mini-pickscore", **changes: Any) -> Callable[[], DyMO]:
        return lambda: DyMO(reward, preset="fast", **changes)

    return {
        "unguided": lambda: None,
        "semantic only": fast(None, recurrences=0),
        "preference only": fast(semantic_weight=0, recurrences=0),
        "both": fast(recurrences=0),
        FULL: fast(),
        THOROUGH: lambda: DyMO("mini-pickscore", preset="thorough"),
        "… gradient conditional": fast(gradient="conditional"),
        "… gradient full": fast(gradient="full"),
        "… tiny decoder": lambda: DyMO("mini-pickscore", preset="fast", preview_vae=load_tiny_decoder()),
    }


def fingerprint(args: argparse.Namespace, name: str, make: Callable[[], DyMO | None]) -> str:
    """A key of everything an arm's result depends on: settings, prompts, weights."""
    aligner = make()
    settings = None if aligner is None else asdict(aligner.config)
    files = sorted(p for part in USED for p in (WEIGHTS / part).rglob("*.safetensors"))
    weights = [(p.name, hashlib.sha256(p.read_bytes()).hexdigest()) for p in files]
    said = json.dumps([name, settings, MINIATURE_DEFAULTS, args.prompts, args.seeds, weights], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def kept(args: argparse.Namespace, key: str, make: Callable[[], Arm]) -> Arm:
    path = args.cache / f"{key}.json"
    if not path.exists():
        write_text(path, json.dumps(asdict(make())))
    return Arm(**json.loads(path.read_text()))


def gains(arm: Arm, base: Arm) -> dict[str, Interval]:
    """Paired differences over the prompts that both have; the changed rows have the first of them alone."""
    values = {name: (arm.scores[name], base.scores[name]) for name in arm.scores}
    values["judge"] = ([100 * c for c in arm.correct], [100 * c for c in base.correct])
    return {
        name: paired_bootstrap(arm.by_prompt(ours), base.by_prompt(theirs, arm.prompts))
        for name, (ours, theirs) in values.items()
    }


def table(arms: list[Arm]) -> Table:
    columns = [
        Column("arm"), Column("mini-pickscore (guide)", 2), Column("difference"), Column("mini-hps (held out)", 2),
        Column("difference"), Column("judge %", 1), Column("difference"), Column("evaluations", 1), Column("seconds", 2),
    ]  # fmt: skip
    rows = []
    for arm in arms:
        gain = gains(arm, arms[0])
        words = {k: "" if arm is arms[0] else v.text(1 if k == "judge" else 2) for k, v in gain.items()}
        rows.append([
            arm.name, fmean(arm.scores["mini-pickscore"]), words["mini-pickscore"], fmean(arm.scores["mini-hps"]),
            words["mini-hps"], 100 * fmean(arm.correct), words["judge"], fmean(arm.evaluations), fmean(arm.seconds),
        ])  # fmt: skip
    return Table(columns, rows)


def changes(arms: dict[str, Arm], best: Arm) -> list[str]:
    """What each change to "both + time travel", and best-of-N, saves and loses; and "thorough" against best-of-N."""
    full, thorough = arms[FULL], arms[THOROUGH]
    pairs = [(arm, full) for name, arm in arms.items() if name.startswith("…") or arm is thorough]
    return [_against(arm, base) for arm, base in [*pairs, (best, full), (thorough, best)]]


def _against(arm: Arm, base: Arm) -> str:
    gain, ratio = gains(arm, base), fmean(arm.seconds) / fmean(base.seconds)
    return (
        f"{arm.name}, to {base.name}: judge {gain['judge'].text(1)} points, mini-hps {gain['mini-hps'].text(2)}, "
        f"seconds x {ratio:.2f}"
    )


def verdicts(arms: dict[str, Arm], best: Arm) -> list[tuple[str, bool]]:
    """The claims this benchmark is to uphold, and whether it does."""
    base = arms["unguided"]
    accuracy = 100 * fmean(base.correct)
    semantic, full = gains(arms["semantic only"], base), gains(arms[FULL], base)
    versus = gains(arms[FULL], best)["judge"]
    return [
        (f"unguided accuracy {accuracy:.1f} % lies between 30 and 75 %", 30 <= accuracy <= 75),
        (f"semantic only raises accuracy: {semantic['judge'].text(1)} points", semantic["judge"].low > 0),
        (
            f"{FULL} raises accuracy by at least 15 points: {full['judge'].text(1)}",
            full["judge"].mean >= 15 and full["judge"].low > 0,
        ),
        (f"{FULL} raises mini-hps: {full['mini-hps'].text(2)}", full["mini-hps"].low > 0),
        (
            f"{best.name}, for the same seconds, is not ahead of it on the judge: {versus.text(1)} points",
            versus.mean >= 0,
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3, help="pictures a prompt")
    parser.add_argument("--quick", action="store_true", help="16 prompts")
    parser.add_argument("--core", action="store_true", help="without the changed rows")
    parser.add_argument("--out", type=Path, help="write the table as Markdown")
    parser.add_argument("--json", type=Path, help="write every number")
    parser.add_argument("--cache", type=Path, default=Path("runs/quality"))
    args = parser.parse_args()
    args.prompts = 16 if args.quick else args.prompts
    args.cache.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    chosen = captions("test", args.prompts)
    bench = Bench(load_miniature())
    arms = {}
    best = None
    for name, make in aligners().items():
        if args.core and name.startswith("…"):
            continue
        part = chosen[: max(16, args.prompts // 2)] if name.startswith("…") else chosen
        arms[name] = kept(
            args, fingerprint(args, name, make), lambda n=name, m=make, p=part: bench.run(n, p, SEED, m(), args.seeds)
        )
        print(f"{name}: judge {100 * fmean(arms[name].correct):.1f} %", file=sys.stderr, flush=True)
        if name == FULL:
            n = math.ceil(sum(arms[FULL].seconds) / sum(arms["unguided"].seconds))
            key = fingerprint(args, f"best of {n}", aligners()["unguided"])
            best = kept(args, key, lambda n=n: bench.best_of(n, chosen, SEED, "mini-pickscore", args.seeds))
            print(f"{best.name}: judge {100 * fmean(best.correct):.1f} %", file=sys.stderr, flush=True)
    assert best is not None
    made, claims = table([*arms.values(), best]), verdicts(arms, best)
    lines = [f"- {line}" for line in changes(arms, best)]
    lines += [f"- {'yes' if holds else 'NO'}: {claim}" for claim, holds in claims]
    print(made.to_text(), *lines, sep="\n")
    if args.out:
        command = "python -m tools.quality" + (f" --prompts {args.prompts}" if args.prompts != 64 else "")
        command += f" --seeds {args.seeds}" if args.seeds != 3 else ""
        command += " --core" if args.core else ""
        said = f"{args.prompts} held-out prompts of two objects, {args.seeds} seeds each, 25 steps; mean per picture."
        head = f"# Quality on the miniature\n\n`{command}`: {said}\n"
        write_text(args.out, "\n".join([head, made.to_markdown(), "", *lines, ""]))
    if args.json:
        write_text(args.json, json.dumps([asdict(a) for a in (*arms.values(), best)]))
    return 0 if all(holds for _, holds in claims) else 1


if __name__ == "__main__":
    sys.exit(main())
