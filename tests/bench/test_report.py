"""The report: comparisons and fronts against known answers, and plain words where DyMO is not ahead."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

from dymo.bench.figures import Point, front
from dymo.bench.plan import Comparison
from dymo.bench.report import digits, images_table, summarise, write_report
from dymo.bench.results import ACCOUNT, RowResult, collect, compare, paired
from dymo.bench.store import Key, Store
from dymo.bench.worker import scores_of
from dymo.miniature.world import Caption, Thing

COLOURS = ("red", "green", "blue", "white", "black", "yellow", "purple", "orange")
PROMPTS = [Caption((Thing("apple", a), Thing("car", b))).text for a in COLOURS[:2] for b in COLOURS[2:]]
PLAN = Comparison.read({
    "rows": [
        "plain", {"name": "DyMO", "method": "dymo", "settings": {"preset": "fast"}},
        {"name": "thorough", "method": "dymo", "settings": {"preset": "thorough"}},
        {"name": "best-of-N, thorough's seconds", "method": "best-of-n", "match": {"row": "thorough", "by": "seconds"}},
        {"name": "ReNO", "method": "reno"},
    ],
    "prompts": PROMPTS, "seeds": [0, 1], "reward": "mini-pickscore", "metrics": ["mini-pickscore", "mini-hps", "judge"],
    "left_out": {"SPO": "no weights"}, "paper": {"SD1.5": {"pickscore": 20.73}}, "versus": "DyMO",
})  # fmt: skip


def result(name, **values):
    """Of a row of PLAN: a value a prompt, with the same of both seeds."""
    return RowResult(
        PLAN.row(name),
        values={
            k.replace("_", "-"): {(p, s): v for p, v in zip(PROMPTS, vs, strict=False) for s in (0, 1)}
            for k, vs in values.items()
        },
    )


def test_a_pair_is_a_prompt_whose_seeds_are_averaged():
    a, b = result("DyMO", mini_hps=range(12)), result("ReNO", mini_hps=range(1, 9))
    a.values["mini-hps"][PROMPTS[0], 1] = 10.0
    del b.values["mini-hps"][PROMPTS[1], 0]
    x, y = paired(a, b, "mini-hps")
    assert x.tolist() == [5, 1, 2, 3, 4, 5, 6, 7] and y.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert paired(a, b, "judge")[0].size == 0
    for each in (a, b):
        each.values["mini-hps"] = {("x", seed): float(seed) for seed in range(3)}
    assert paired(a, b, "mini-hps")[0].size == 3, "of one prompt, a pair is a seed"


def test_the_front_is_what_nothing_beats_at_its_cost():
    points = [Point("a", 1, 1), Point("b", 2, 0.5), Point("c", 3, 2), Point("d", 3, 1.5), Point("e", 9, 2)]
    assert [p.name for p in front(points)] == ["a", "c"]


def test_where_it_is_not_ahead_the_summary_says_so():
    rng = np.random.default_rng(0)
    noise = [rng.normal(0, 0.1, 12) for _ in range(5)]
    levels = {"plain": 0.0, "DyMO": 5.0, "thorough": 5.0, "ReNO": 9.0, "best-of-N, thorough's seconds": 1.0}
    results = [
        result(n, mini_hps=level + e, mini_pickscore=[0.0] * 12)
        for (n, level), e in zip(levels.items(), noise, strict=True)
    ]
    tested, _ = compare(PLAN, results, "DyMO")
    words = {(t.row, t.against): t.difference.word for t in tested if t.metric == "mini-hps"}
    assert words == {
        ("plain", "DyMO"): "lower", ("thorough", "DyMO"): "no difference shown", ("ReNO", "DyMO"): "higher",
        ("best-of-N, thorough's seconds", "DyMO"): "lower", ("best-of-N, thorough's seconds", "thorough"): "lower",
    }  # fmt: skip
    assert len(tested) == 10, (
        "metrics without a value are no comparison; a matched row is held against its own base too"
    )
    said = summarise(PLAN, results, tested, "DyMO", ["mini-hps"])
    assert "of 4 comparisons, ahead 2; behind 1; no difference shown 1." in said
    results[0].failures[PROMPTS[0], 0] = "out of memory"
    assert "Images that failed: 1 (plain)" in summarise(PLAN, results, tested, "DyMO", ["mini-hps"])
    few = [result(n, mini_hps=[level] * 4) for n, level in levels.items()]
    assert "too few pairs 4" in summarise(PLAN, few, compare(PLAN, few, "DyMO")[0], "DyMO", ["mini-hps"])


def test_numbers_have_about_four_figures():
    assert [digits([v]) for v in (250.0, 20.73, -2.4, 0.2341, 0.00623, 0.0)] == [1, 2, 3, 4, 6, 3]


@pytest.fixture
def run(tmp_path):
    store = Store(tmp_path)
    for r, row in enumerate(PLAN.rows):
        for i, prompt in enumerate(PROMPTS):
            for seed in PLAN.seeds:
                key = Key(PLAN.hash_of(row), prompt, seed)
                if (row.name, i) == ("ReNO", 11):
                    store.fail(key, "RuntimeError: out of memory")
                if row.name == "ReNO" and i >= 10:
                    continue
                buffer = io.BytesIO()
                Image.fromarray(np.full((8, 8, 3), 40 * r, np.uint8)).save(buffer, format="PNG")
                scores = {"mini-pickscore": r + i / 10, "mini-hps": r - i / 10}
                account = {**dict.fromkeys(ACCOUNT, 10.0 * (r + 1)), "peak_mb": None}
                store.put(key, {**account, "scores": {scores_of(k): v for k, v in scores.items()}}, buffer.getvalue())
    store.note("command", "dymo bench --config mine.yaml")
    return store


def test_the_report_is_one_file_with_everything_in_it(run):
    written = write_report(PLAN, run)
    html, words = written.html.read_text(), written.markdown.read_text()
    for said in (html, words):
        for part in (
            "Against DyMO", "Against thorough", "What it costs", "own figures", "20.7300", "row SPO: no weights",
            "metric judge: no image was measured by it", "out of memory", "Images that are not generated yet: 2",
            "dymo bench --config mine.yaml", "Guided by mini-pickscore; held out: mini-hps.", "Images that failed: 2 (ReNO)",
        ):  # fmt: skip
            assert part in said, part
    assert len(written.failures) == 1 and "and 1 more: " in written.failures[0] and written.summary in words
    # The summary is the first thing said, and the rows whose budget is a time are marked (C6).
    assert words.index(written.summary) < words.index("| plain") and "best-of-N, thorough's seconds †" in words
    assert "follow the machine's load" in words
    outside = html.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert "<script" not in html and "http" not in outside and html.count("data:image/png") == 4 * 5
    for name in ("pareto.svg", "images.webp"):
        assert (run.folder / "report" / name).is_file() and f"report/{name}" in words
    other = write_report(PLAN, run, versus="plain", folder=run.folder / "elsewhere")
    assert "Against plain" in other.html.read_text() and "plain against 4 other rows" in other.summary


def test_c6_the_numbers_are_there_for_other_programs(run):
    written = write_report(PLAN, run)
    found = json.loads((run.folder / "report" / "results.json").read_text())
    assert [row["name"] for row in found["rows"]] == [row.name for row in PLAN.rows]
    assert found["rows"][1]["mini-hps"] == pytest.approx(np.mean([1 - i / 10 for i in range(12)]))
    assert {d["against"] for d in found["differences"]} == {"DyMO", "thorough"} and found["plan"]["versus"] == "DyMO"
    assert {"mean", "low", "high", "p", "pairs", "word"} == found["differences"][0]["difference"].keys()
    with (run.folder / "report" / "images.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 4 * 24 + 20 and lines[0]["prompt"] == PROMPTS[0] and float(lines[0]["mini-hps"]) == 0.0
    latex = (run.folder / "report" / "table.tex").read_text()
    assert latex.count("\\\\") == 6 and "best-of-N, thorough's seconds" in latex
    assert len(written.table.rows) == 5 and len(images_table(PLAN, collect(PLAN, run)).rows) == len(lines)


def test_a_score_in_an_old_store_that_is_not_finite_is_left_out_and_the_report_says_so(run):
    row = PLAN.row("ReNO")
    for prompt, value in zip(PROMPTS, (float("nan"), float("inf")), strict=False):
        key = Key(PLAN.hash_of(row), prompt, 0)
        record = run.record(key)
        run.put(key, {**record, "scores": {**record["scores"], scores_of("mini-hps"): value}})
    written = write_report(PLAN, run)
    for value in ("nan", "inf"):
        assert any(f"metric mini-hps gave {value}" in reason for reason in written.failures)
    found = next(result for result in collect(PLAN, run) if result.row.name == "ReNO")
    assert len(found.values["mini-hps"]) == len(found.values["mini-pickscore"]) - 2 and len(found.images) == 20


def test_a_failure_of_a_metric_that_is_asked_for_no_more_is_over_and_a_deleted_image_is_not_there(run):
    plan = PLAN.model_copy(update={"metrics": ("mini-hps",)})
    keys = [Key(PLAN.hash_of(PLAN.row("ReNO")), PROMPTS[i], 0) for i in range(2)]
    for key in keys:
        run.fail(key, "RewardError: metric judge gave nan")
    run.image_path(keys[1]).unlink()
    found = next(result for result in collect(plan, run) if result.row.name == "ReNO")
    cases = {key[1:] for key in keys}
    assert cases & found.failures.keys() == {keys[1][1:]} and cases - found.images.keys() == {keys[1][1:]}
    write_report(plan, run)


def test_the_pareto_plot_has_its_own_dark_colours_and_is_the_same_each_time(run):
    svg = [(write_report(PLAN, run).html.parent / "report" / "pareto.svg").read_text() for _ in range(2)]
    assert (
        svg[0] == svg[1]
        and "prefers-color-scheme:dark" in svg[0]
        and "currentColor" in svg[0]
        and "#010203" not in svg[0]
    )


def test_the_sheet_of_many_rows_stays_moderate(run):
    """Look: 0.1's was 2876 x 3300 pixels; here each image is 128 pixels, and many rows stand in two panels."""
    rows = [{"name": f"row {i}", "method": "best-of-n", "settings": {"n": i + 1}} for i in range(30)]
    plan = Comparison.read({"rows": rows, "prompts": PROMPTS, "metrics": []})
    store = Store(run.folder / "many")
    image = run.image_path(Key(PLAN.hash_of(PLAN.rows[1]), PROMPTS[0], 0)).read_bytes()
    for row in plan.rows:
        for prompt in PROMPTS[:5]:
            store.put(Key(plan.hash_of(row), prompt, 0), {**dict.fromkeys(ACCOUNT, 1.0), "scores": {}}, image)
    write_report(plan, store)
    with Image.open(store.folder / "report" / "images.webp") as sheet:
        assert sheet.width < 1700 and sheet.height < 2300
