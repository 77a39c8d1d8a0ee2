"""The report: tests and fronts against known answers, and plain words where DyMO is not ahead."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.stats import wilcoxon

from dymo.bench.figures import Point, front
from dymo.bench.grid import picture_grid
from dymo.bench.plan import Match, Plan, Row
from dymo.bench.report import write_report
from dymo.bench.results import RowResult, collect, compare
from dymo.bench.standing import standing
from dymo.bench.store import Key, Store

PROMPTS = tuple(f"a red apple and a {c} car" for c in ("green", "blue", "white", "black", "yellow", "purple"))
PLAN = Plan(
    rows=(Row("unguided"), Row("DyMO", "dymo", {"preset": "fast"}), Row("best-of-N", "best-of-n", {"n": 4}), Row("ReNO", "reno")),
    prompts=PROMPTS, metrics=("guide", "held", "judge", "absent"), guides=("guide",), left_out={"SPO": "no weights"},
    paper={"SD1.5": {"pickscore": 20.73}},
)  # fmt: skip


def picture(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def row(name, method, **values):
    return RowResult(Row(name, method), values={k: {(p, 0): v for p, v in enumerate(vs)} for k, vs in values.items()})


def test_a_comparison_is_paired_over_what_both_have():
    a, b = row("a", "dymo", held=[1.0, 2.0, 3.0, 4.5]), row("b", "reno", held=[0.5, 1.0, 1.5])
    test = compare(a, b, "held")
    assert test.pairs == 3 and test.difference.mean == pytest.approx(1.0)
    assert test.p == wilcoxon([1.0, 2.0, 3.0], [0.5, 1.0, 1.5]).pvalue
    assert compare(a, a, "held").p == 1.0 and compare(a, b, "other") is None


def test_the_front_is_what_nothing_beats_at_its_cost():
    points = [Point("a", 1, 1), Point("b", 2, 0.5), Point("c", 3, 2), Point("d", 3, 1.5), Point("e", 9, 2)]
    assert [p.name for p in front(points)] == ["a", "c"]


def test_where_it_is_not_ahead_the_report_says_so():
    ours = row("DyMO", "dymo", held=[1.0, 2.0, 3.0, 4.0], guide=[9.0] * 4, evaluations=[40.0] * 4)
    behind, level = (
        row("best", "best-of-n", held=[2.0, 3.0, 4.0, 5.1]),
        row("fk", "fk-steering", held=[1.1, 1.9, 3.1, 3.9]),
    )
    ahead = row("reno", "reno", held=[0.0, 1.0, 2.0, 2.9], guide=[0.0] * 4)
    (found,) = standing([ours, behind, level, ahead], PLAN, ["guide", "held"])
    assert [cells[1].partition(":")[0] for cells in found.tables[0].rows] == ["BEHIND", "not clearly ahead", "ahead"]
    assert len(found.tables[0].columns) == 2, "on what guided it nobody is compared"
    assert found.notes[0] == "DyMO is BEHIND: best on held." and "not clearly ahead of: fk on held." in found.notes[1]
    assert "40 evaluations" in found.tables[0].columns[0].title
    assert standing([behind, level], PLAN, ["held"]) == []
    other = RowResult(Row("full", "dymo"), values=ours.values)
    matched = RowResult(Row("best, full's", "best-of-n", match=Match("full")), values=level.values)
    first, second = standing([ours, other, behind, matched], PLAN, ["held"])
    assert len(first.tables[0].rows) == 1 and len(second.tables[0].rows) == 2, (
        "a matched rival against its own row alone"
    )


@pytest.fixture
def run(tmp_path):
    store = Store(tmp_path)
    for r, name in enumerate(row.name for row in PLAN.rows):
        for i, prompt in enumerate(PROMPTS):
            key = Key(PLAN.hash_of(PLAN.row(name)), prompt, 0)
            if name == "ReNO" and i == 5:
                store.fail(key, "RuntimeError: out of memory")
                continue
            if name == "ReNO" and i == 4:
                continue
            account = dict.fromkeys(("denoiser_rows", "denoiser_backwards", "decodes", "reward_calls"), 10 * r)
            store.put(
                key,
                {
                    "png": picture(40 * r),
                    "evaluations": 25 * (r + 1),
                    "seconds": 1.5 * (r + 1),
                    "peak_bytes": None,
                    **account,
                },
            )
            for metric, score in (("guide", r + i / 10), ("held", r - i / 10), ("judge", float(r > 0))):
                from dymo.bench.metrics import shard_of

                store.put(key, {"score": score}, shard_of(metric))
    return store


def test_the_report_is_one_file_with_everything_in_it(run):
    page, text = write_report(PLAN, run, command="dymo bench", missing={"absent": "no such reward"})
    html, words = page.read_text(), text.read_text()
    for said in (html, words):
        for part in (
            "Against unguided", "p = ", "on held-out columns", "What it costs", "own figures", "20.7300", "The pictures",
            "row SPO: no weights", "column absent: no such reward", "out of memory", "1 pictures are not painted yet", "dymo bench",
            "judge, %", "guide (guide)",
        ):  # fmt: skip
            assert part in said, part
    assert "<script" not in html and "http" not in html.replace("http-equiv", "") and html.count("data:image/png") == 2
    assert (run.folder / "report" / "pareto.png").is_file() and "report/pareto.png" in words
    results = collect(PLAN, run)
    assert results[1].mean("guide") == pytest.approx(1.25) and results[3].absent == 1 and len(results[3].failures) == 1
    other, _ = write_report(PLAN, run, versus="DyMO", folder=run.folder / "elsewhere")
    assert "Against DyMO" in other.read_text()


@pytest.mark.parametrize(("count", "lines"), [(4, 1), (10, 5)])
def test_the_grid_has_the_rows_across_or_where_they_are_many_down(count, lines):
    results = [
        RowResult(Row(f"row {i}"), {("a red apple", 0): picture(20 * i + 5)}, {"judge": {("a red apple", 0): 1.0}})
        for i in range(count)
    ]
    plan = Plan(rows=tuple(r.row for r in results), prompts=("a red apple", "a cat"))
    drawn = Image.open(io.BytesIO(picture_grid(results, plan)))
    pixels = np.asarray(drawn.convert("RGB"))
    # The first line with as many pixels of a picture's grey as no letter has.
    tops = [int(((pixels == 20 * i + 5).all(-1).sum(1) >= 12).argmax()) for i in range(count)]
    assert len(set(tops)) == lines, "many rows stand in two panels, the prompts above them"
    assert picture_grid([RowResult(Row("none"))], plan) is None
