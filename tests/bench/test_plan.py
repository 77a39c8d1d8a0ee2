"""Plans: what is refused before a model is loaded, what a picture's configuration hash depends on, prompts, presets."""

import json

import pytest

from dymo.bench import digest, presets, prompts
from dymo.bench.metrics import caption_of
from dymo.bench.plan import Match, Plan, Row, read_yaml
from dymo.errors import ConfigError
from dymo.miniature.world import captions

YAML = """
pipeline: miniature
prompts: [a red apple, a green car]
seeds: [0, 1]
reward: mini-pickscore
call: {num_inference_steps: 5}
rows:
  - plain
  - {name: ours, method: dymo, settings: {preset: fast}}
  - {name: best, method: best-of-n, match: {row: ours, by: seconds}}
  - {method: reno, budget: {evaluations: 50}}
"""


def test_a_file_becomes_a_plan_and_a_plan_comes_back_from_its_json(tmp_path):
    (tmp_path / "plan.yaml").write_text(YAML)
    plan = Plan.from_dict(read_yaml(tmp_path / "plan.yaml"))
    assert [row.name for row in plan.rows] == ["plain", "ours", "best", "reno"]
    assert plan.row("best").match == Match("ours", "seconds") and plan.seeds == (0, 1) and plan.base == "plain"
    again = Plan.from_dict(json.loads(plan.to_json()))
    assert again == plan and [again.hash_of(r) for r in again.rows] == [plan.hash_of(r) for r in plan.rows]


def base(**changes):
    return Plan(**{"rows": (Row("a", "reno"),), "prompts": ("x",), **changes})


def test_the_hash_follows_what_a_picture_depends_on_and_nothing_else(tmp_path):
    plan = base()
    mark = plan.hash_of(plan.rows[0])
    same = [
        base(rows=(Row("b", "reno"),)),
        base(prompts=("y",)),
        base(seeds=(5,)),
        base(metrics=("m",), title="t", versus="a"),
    ]
    assert all(p.hash_of(p.rows[0]) == mark for p in same)
    others = [
        base(reward="r"), base(call={"eta": 1}), base(lora="l"), base(scheduler="ddim"), base(rows=(Row("a", "reno", {"lr": 1.0}),)),
        base(rows=(Row("a", "reno", budget={"seconds": 1}),)), base(rows=(Row("a", "dno"),)),
    ]  # fmt: skip
    marks = {p.hash_of(p.rows[0]) for p in others}
    assert len(marks) == len(others) and mark not in marks
    matched = [
        Plan(rows=(Row("b", "best-of-n", match=Match("a")), Row("a", "reno", {"lr": lr})), prompts=("x",))
        for lr in (1.0, 2.0)
    ]
    assert matched[0].hash_of(matched[0].rows[0]) != matched[1].hash_of(matched[1].rows[0])
    # Weights at the same place with another content are other weights.
    path = tmp_path / "lora.safetensors"
    seen = set()
    for content in (b"1", b"2"):
        path.write_bytes(content)
        digest._digest.cache_clear()
        seen.add(base(lora=str(path)).hash_of(plan.rows[0]))
    assert len(seen) == 2
    # The same content in another folder is the same weights.
    (tmp_path / "moved").mkdir()
    moved = path.rename(tmp_path / "moved" / path.name)
    assert base(lora=str(moved)).hash_of(plan.rows[0]) in seen


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"rows": []}, "no row"),
        ({"rows": ["plain", "plain"]}, "two rows are called 'plain'"),
        ({"rows": ["plane"]}, "did you mean 'plain'"),
        ({"rows": [{"method": "reno", "settings": {"rate": 1}}]}, "no setting 'rate'"),
        ({"rows": [{"method": "reno", "budget": {"minutes": 1}}]}, "no 'minutes'"),
        ({"rows": [{"method": "reno", "budget": {"seconds": -1}}]}, "positive"),
        ({"rows": [{"method": "best-of-n", "match": "ours"}]}, "matches 'ours'"),
        ({"rows": ["plain", {"method": "best-of-n", "match": {"row": "plain", "by": "joules"}}]}, "'joules'"),
        ({"rows": ["plain"], "prompt": ["x"]}, "no 'prompt'"),
        ({"rows": ["plain"], "versus": "ours"}, "versus='ours'"),
        ({"rows": ["plain"], "prompts": []}, "no prompt"),
    ],
)
def test_a_wrong_plan_is_refused_with_the_word_that_is_wrong(data, said):
    with pytest.raises(ConfigError, match=said):
        Plan.from_dict({"prompts": ["x"], **data})


def test_prompts_come_from_files_of_every_kind(tmp_path):
    import pyarrow
    import pyarrow.parquet

    (tmp_path / "a.txt").write_text("a cat\n\n a hat \na cat\n")
    (tmp_path / "a.jsonl").write_text('{"text": "a cat", "id": 1}\n{"text": "a hat", "id": 2}\n')
    pyarrow.parquet.write_table(pyarrow.table({"id": [1, 2], "caption": ["a cat", "a hat"]}), tmp_path / "a.parquet")
    for name in ("a.txt", "a.jsonl", "a.parquet"):
        assert prompts.load_prompts(str(tmp_path / name)) == ["a cat", "a hat"], name
        assert prompts.load_prompts(str(tmp_path / name), 1) == ["a cat"]
    assert prompts.load_prompts("miniature", 5) == [c.text for c in captions("test", 5)]
    (tmp_path / "b.jsonl").write_text('{"words": "a cat"}\n')
    for source, n, said in (
        (tmp_path / "b.jsonl", None, "no column of prompts: words"), (tmp_path / "a.txt", 3, "holds 2 prompts, 3 asked"),
        (tmp_path / "none.txt", None, "no such file"), ("hub:a/b", None, "SPLIT:COLUMN"), ("miniature", 10**6, "captions asked"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            prompts.load_prompts(str(source), n)


def test_a_library_that_is_not_there_is_an_error_that_names_its_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"dymo-diffusion\[hub\]"):
        prompts.load_prompts("pick-a-pic", 2)


def test_the_judges_captions_are_read_back_from_their_words():
    for caption in captions("test", 200):
        assert caption_of(caption.text) == caption
    with pytest.raises(ConfigError, match="the judge cannot read 'a city at night'"):
        caption_of("a city at night")


@pytest.mark.parametrize("number", presets.TABLES)
def test_the_papers_tables_are_plans_and_every_row_of_theirs_is_there_or_left_out_with_a_reason(number, monkeypatch):
    here = presets.table(number, "miniature", 3)
    assert len(here.prompts) == 3 and here.pipeline == "miniature" and not here.paper
    monkeypatch.setattr(presets, "load_prompts", lambda source, n, seed=0: [f"{source} {i}" for i in range(n)])
    real = presets.table(number, presets.SDXL if number == 2 else presets.SD15)
    assert len(real.prompts) == 500 and real.scheduler == "ddim"
    names = " | ".join([row.name for row in real.rows] + list(real.left_out))
    for row in real.paper:
        assert row.split(" (")[0].replace("graphs by Llama-3.3", "graphs by a language model") in names, row
    with pytest.raises(ConfigError, match="--table 5"):
        presets.table(5)


def test_a_set_of_the_hub_is_read_by_its_column(tmp_path):
    """A folder stands for the id; the client reads it by the same code."""
    pytest.importorskip("datasets")
    lines = [{"said": text, "other": i} for i, text in enumerate(("a red apple", "a red apple", "a cat", "a dog"))]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert prompts.load_prompts(f"hub:{tmp_path}:train:said", 2) == ["a red apple", "a cat"]
    with pytest.raises(ConfigError, match="no column of prompts: said, other"):
        prompts.load_prompts(f"hub:{tmp_path}:train:prompt", 2)
