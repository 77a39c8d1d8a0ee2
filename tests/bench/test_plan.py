"""Comparisons: what is refused before a model is loaded, what an image's configuration depends on, prompts, the tables."""

import json

import pytest

from dymo.bench import identity, prompts, reading
from dymo.bench.plan import Comparison
from dymo.bench.reading import TABLES, read_table, read_yaml
from dymo.bench.rows import Match, RowSpec
from dymo.bench.store import open_run
from dymo.commands import options
from dymo.errors import ConfigError, RewardError
from dymo.miniature.world import captions, in_turns, read_caption

YAML = """
pipeline: miniature
prompts: [a red apple, a green car]
seeds: [0, 1]
reward: mini-pickscore
call: {num_inference_steps: 5}
rows:
  - plain
  - {name: ours, method: dymo, settings: {preset: fast}}
  - {name: best, method: best-of-n, match: {row: ours, by: tflop}}
  - {method: reno, budget: {trajectories: 10}}
"""


def read(**changes):
    return Comparison.read({"rows": [{"name": "a", "method": "reno"}], "prompts": ["x"], "metrics": [], **changes})


def test_a_file_becomes_a_comparison_and_it_comes_back_from_its_json(tmp_path):
    (tmp_path / "plan.yaml").write_text(YAML)
    plan = Comparison.read(read_yaml(tmp_path / "plan.yaml"))
    assert [row.name for row in plan.rows] == ["plain", "ours", "best", "reno"]
    assert plan.row("best").match == Match(row="ours", by="tflop") and plan.seeds == (0, 1) and plan.base == "plain"
    assert plan.guides == ("mini-pickscore",) and plan.call == {"num_inference_steps": 5, "guidance_scale": 4.0}
    (tmp_path / "plan.json").write_text(plan.model_dump_json())
    again = Comparison.load(tmp_path)
    assert again == plan and [again.hash_of(r) for r in again.rows] == [plan.hash_of(r) for r in plan.rows]
    assert again.mark == plan.mark != read().mark


GUIDED = {"rows": ["plain", {"name": "hps", "method": "best-of-n", "reward": "mini-hps", "settings": {"n": 2}}]}


@pytest.mark.parametrize(
    ("data", "guides"),
    [
        (GUIDED, ("mini-hps",)),  # no row follows the comparison's reward
        ({"rows": [*GUIDED["rows"], "reno"]}, ("mini-hps", "mini-pickscore")),
        ({"rows": ["reno", "attend-excite"], "reward": {"mini-hps": 1, "mini-aesthetic": 1}}, ("mini-hps", "mini-aesthetic")),
        ({"rows": ["plain", "attend-excite"]}, ()),
        ({**GUIDED, "guides": ["mini-aesthetic"]}, ("mini-aesthetic", "mini-hps")),
        ({**GUIDED, "guides": "mini-aesthetic"}, ("mini-aesthetic", "mini-hps")),
    ],
)
def test_a_metric_that_any_row_is_guided_by_is_not_held_out(data, guides, tmp_path):
    plan = read(**data)
    assert plan.guides == guides
    (tmp_path / "plan.json").write_text(plan.model_dump_json())
    assert Comparison.load(tmp_path).guides == guides


def test_a_run_of_before_keeps_its_name_and_its_report_is_right(tmp_path):
    """Until 0.2 `guides` were the comparison's reward alone; the letters are that release's."""
    plan = read(**GUIDED, metrics=["mini-pickscore", "mini-hps"])
    assert plan.mark == "b7f19b4c" == read(**GUIDED, metrics=["mini-pickscore", "mini-hps"], guides=["mini-pickscore"]).mark
    assert read(**GUIDED, metrics=["mini-pickscore", "mini-hps"], guides=["mini-hps"]).mark == "f0c09287"
    held = {**json.loads(plan.model_dump_json()), "guides": ["mini-pickscore"]}
    (tmp_path / "plan.json").write_text(json.dumps(held))
    assert "mini-hps" in Comparison.load(tmp_path).guides
    (tmp_path / "images").mkdir()
    open_run(tmp_path, plan.model_dump_json())
    assert Comparison.load(tmp_path).guides == ("mini-hps",)


def test_the_hash_follows_what_an_image_depends_on_and_nothing_else(tmp_path):
    mark = read().hash_of(read().rows[0])
    same = [
        read(rows=[{"name": "b", "method": "reno"}]), read(prompts=["y"]), read(seeds=[5]), read(metrics=["mini-hps"]),
        read(title="t", versus="a"),
    ]  # fmt: skip
    assert all(p.hash_of(p.rows[0]) == mark for p in same)
    others = [
        read(reward="mini-hps"), read(call={"eta": 1}), read(lora="l"), read(scheduler="ddim"), read(batch=2),
        read(rows=[{"method": "reno", "settings": {"lr": 1.0}}]), read(rows=["dno"]),
        read(rows=[{"method": "reno", "budget": {"seconds": 1}}]),
    ]  # fmt: skip
    marks = {p.hash_of(p.rows[0]) for p in others}
    assert len(marks) == len(others) and mark not in marks
    bases = [{"name": "a", "method": "reno", "settings": {"lr": lr}} for lr in (1.0, 2.0)]
    matched = [read(rows=[{"name": "b", "method": "best-of-n", "match": "a"}, base]) for base in bases]
    assert matched[0].hash_of(matched[0].rows[0]) != matched[1].hash_of(matched[1].rows[0])
    # Weights at the same place with another content are other weights.
    path, seen = tmp_path / "lora.safetensors", set()
    for content in (b"1", b"2"):
        path.write_bytes(content)
        identity._digest.cache_clear()
        seen.add(read(lora=str(path)).hash_of(read().rows[0]))
    assert len(seen) == 2
    # The same content in another folder is the same weights.
    (tmp_path / "moved").mkdir()
    moved = path.rename(tmp_path / "moved" / path.name)
    assert read(lora=str(moved)).hash_of(read().rows[0]) in seen


def test_a_reward_is_in_the_hash_of_the_rows_that_read_it():
    rows = ["plain", "attend-excite", "reno", {"method": "best-of-n", "match": "plain"}]
    one, other = (read(rows=rows, reward=reward) for reward in ("mini-hps", "mini-pickscore"))
    same = [one.hash_of(a) == other.hash_of(b) for a, b in zip(one.rows, other.rows, strict=True)]
    assert same == [True, True, False, False]
    # Of rows that read a reward it is the one of earlier releases, and so their images stand.
    assert [one.hash_of(row) == one.older_hash_of(row) for row in one.rows] == [False, False, True, True]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"rows": []}, "rows: there is none"),
        ({"rows": "plain"}, "^rows: 'plain': give a list, as"),
        ({"rows": [[["x"] * 9] * 999]}, r"^row 1: \[\['x'.{0,80}: give a table, as"),
        ({"rows": [3]}, "row 1: 3: give a table, as"),
        ({"rows": [{"method": "best-of-n", "budget": {"seconds": float("inf")}}]}, "budget, seconds: .*finite"),
        ({"rows": [{"method": "reno", "budget": {"evaluations": 50, "trajectories": 2}}]}, "give one of them"),
        ({"rows": ["plain"], "reward": {"mini-hps": float("nan")}}, "^reward: mini-hps: its weight is nan"),
        ({"rows": ["plain"], "call": {"negative_prompt": 5}}, "call.negative_prompt: 5: give a text"),
        ({"rows": ["plain", "plain"]}, "two are called 'plain'"),
        ({"rows": ["plane"]}, "row 'plane': unknown method 'plane'"),
        ({"rows": [{"method": "reno", "settings": {"rate": 1}}]}, "no setting 'rate'"),
        ({"rows": [{"name": "r", "method": "dymo", "settings": {"preset": "fsat"}}]}, "row 'r': unknown preset 'fsat'"),
        ({"rows": [{"method": "dymo", "settings": {"settings": {"etta": 1}}}]}, "unknown setting 'etta'.*did you mean 'eta'"),
        ({"rows": [{"method": "dymo", "settings": {"settings": {"eta": -1}}}]}, "row 'dymo': eta="),
        ({"rows": [{"name": "q", "reward": "mini-pikscore"}]}, "row 'q', reward: unknown reward.*did you mean 'mini-pickscore'"),
        ({"rows": ["plain"], "reward": {"mini-hps": 1, "hsp": 1}}, "^reward: unknown reward 'hsp'"),
        ({"rows": ["plain"], "metrics": ["mini-hps", "mini-hsp"]}, "^metrics: unknown reward 'mini-hsp'"),
        ({"rows": ["plain"], "guides": ["mini-hsp"]}, "^guides: unknown reward 'mini-hsp'.*did you mean 'mini-hps'"),
        ({"rows": ["plain"], "metrics": ["judge"]}, "^metrics: the judge cannot read the prompt: 'x' is not a caption"),
        ({"rows": ["plain"], "metrics": ["nowhere.py:mine"]}, "there is no file .*nowhere.py"),
        ({"rows": [{"method": "reno", "budget": {"minutes": 1}}]}, "row 'reno', budget: there is no 'minutes': choose from ev"),
        ({"rows": [{"method": "reno", "budget": {"seconds": -1}}]}, "row 'reno', budget, seconds: .*greater than 0, not -1"),
        ({"rows": [{"method": "reno", "budget": {}, "match": "a"}]}, "give budget or match, not both"),
        ({"rows": [{"method": "best-of-n", "match": "ours"}]}, "matches 'ours'"),
        ({"rows": ["plain", {"method": "best-of-n", "match": {"row": "plain", "by": "joules"}}]}, "'tflop'.*not 'joules'"),
        ({"rows": [{"name": "spo", "lora": "./spo.safetensors"}]}, "row 'spo': lora: there is no ./spo.safetensors"),
        ({"rows": ["plain"], "prompt": ["x"]}, "there is no 'prompt' .did you mean 'prompts'"),
        ({"rows": ["plain"], "prompts": {"form": "miniature"}}, "prompts: no key 'form'"),
        ({"rows": ["plain"], "versus": "ours"}, "versus: 'ours' is no row"),
        ({"rows": ["plain"], "prompts": []}, "prompts: there is none"),
        ({"rows": ["plain"], "prompts": ["x", " "]}, "^prompts: one of them is empty"),
        ({"rows": ["plain"], "prompts": [{"a": 1}]}, "^prompts: "),
        ({"rows": ["plain"], "prompts": {"from": "miniature", "n": "abc"}}, "^prompts: 'abc' prompts asked for: give a whole number"),
        ({"rows": ["plain"], "prompts": {"from": "miniature", "n": True}}, "^prompts: True prompts asked for"),
        ({"rows": ["plain"], "prompts": {"from": "miniature", "n": 2, "seed": "a"}}, "^prompts: seed 'a': give a whole number"),
        ({"rows": ["plain"], "seeds": [99999999999999999999]}, "^seeds: 99999999999999999999: give a whole number below"),
        ({"rows": ["plain"], "seeds": [True]}, "^seeds: .*not True"),
        ({"rows": ["plain"], "seeds": [1.0]}, "^seeds: .*not 1.0"),
        ({"rows": ["plain"], "seeds": [0, 1, 0]}, "^seeds: 0 is there 2 times: give each seed once"),
        ({"rows": ["plain"], "seeds": "0-x"}, "^seeds: '0-x': cannot read '0-x'; give whole numbers and ranges"),
        ({"rows": [{"name": "b", "method": "best-of-n", "settings": {"n": "4"}}]}, "^row 'b': best-of-n: n='4': give a whole number"),
        ({"rows": [{"method": "best-of-n", "settings": {"n": 2.5}}]}, "n=2.5: give a whole number"),
        ({"rows": [{"method": "best-of-n", "settings": {"n": True}}]}, "n=True: give a whole number"),
        ({"rows": [{"method": "reno", "settings": {"lr": "fast"}}]}, "^row 'reno': reno: lr='fast': give a number"),
        ({"rows": [{"method": "dymo", "settings": {"settings": ["eta"]}}]}, "^row 'dymo': dymo: settings=.*give a"),
        ({"rows": [{"method": "dymo", "settings": {"settings": {1: 2}}}]}, "^row 'dymo': dymo: settings={1: 2}: give a text"),
        ({"rows": [{"method": "dymo", "settings": {"parser": 3}}]}, "parser=3: give a function or give a text or"),
        ({"rows": [{"method": "attend-excite", "settings": {"thresholds": [[0.5, "much"]]}}]}, "thresholds=.*give a number"),
        ({"rows": ["best-of-n"]}, "^row 'best-of-n': best-of-n has no end: give settings: {n: 8}, budget"),
        ({"rows": [{"method": "best-of-n", "budget": {}}]}, "best-of-n has no end"),
        ({"rows": ["plain"], "call": {"guidance_scale": "abc"}}, "^call.guidance_scale: 'abc': give a number"),
        ({"rows": ["plain"], "call": {"eta": float("nan")}}, "^call.eta: nan: give a number"),
        ({"rows": ["plain"], "call": {"num_inference_steps": True}}, "^call.num_inference_steps: True: give a whole number"),
        ({"rows": ["plain"], "call": {"generator": 3}}, "^call.generator: 'generator' is made of the seed: give seeds"),
        ({"rows": [{"name": "r", "call": {"prompt": "a cat"}}]}, "^row 'r': call.prompt: 'prompt' has a key of its own: prompts"),
        ({"rows": ["plain"], "call": {"height": 12}}, "^call.height: 12: must be a multiple of 8; the nearest is 16"),
        ({"rows": [{"name": "r", "call": {"width": 4}}]}, "^row 'r': call.width: 4: must be a multiple of 8"),
        ({"rows": ["plain", "dymo"], "reward": "judge"}, "^reward: judge only measures, and dymo follows a reward's gradient"),
        ({"rows": [{"name": "r", "method": "reno", "reward": {"mini-hps": 1, "judge": 2}}]}, "^row 'r': reward: judge only measures"),
        ({"rows": [{"method": "reno", "reward": "vqascore"}]}, "^row 'reno': reward: vqascore only measures, and reno"),
        ({"rows": [{"name": "b", "method": "best-of-n", "settings": {"n": 2}, "reward": False}]}, "^row 'b': reward: false: best-of-n"),
        ({"rows": ["plain", "freedom"], "reward": False}, "^reward: false: freedom chooses or moves"),
        ({"rows": [{"method": "rewrite", "settings": {"candidates": 3}}], "reward": False}, "^reward: false: rewrite"),
        ({"rows": ["plain"], "batch": 0}, "batch: .*greater than 0, not 0"),
        ({"rows": ["plain"], "scheduler": "dimm"}, "scheduler: 'dimm'"),
        ({"rows": ["plain"], "scheduler": "euler a karras"}, "^scheduler: .*has no karras spacing"),
        ({"rows": ["plain"], "lora": ["a:0.5", "b:much"]}, "^lora: b:much: 'much' is no strength"),
        ({"rows": [{"name": "r", "lora": "b:much"}]}, "^row 'r', lora: b:much: 'much' is no strength"),
        ({"rows": ["plain"], "lora": 7}, "^lora: "),
        ({"rows": [{"name": "r", "unet": "a/b"}], "offload": "model"}, "offload: model: another UNet"),
        ({"rows": ["plain"], "dtype": "int8"}, "^dtype: .*'auto', not 'int8'"),
    ],
)  # fmt: skip
def test_c5_a_wrong_plan_is_refused_with_the_key_that_is_wrong(data, said):
    with pytest.raises(ConfigError, match=said):
        Comparison.read({"prompts": ["x"], "metrics": [], **data})


def test_a_reward_that_only_measures_serves_the_methods_that_compare_and_words_need_none():
    words = {"preset": "fast", "settings": {"preference_weight": 0}}
    rows = [
        "plain", "attend-excite", {"name": "best", "method": "best-of-n", "settings": {"n": 2}}, "fk-steering",
        {"method": "dymo", "settings": words}, {"name": "none", "method": "dymo", "reward": False},
    ]  # fmt: skip
    assert len(Comparison.read({"rows": rows, "reward": "judge", "prompts": ["a red apple"], "metrics": []}).rows) == 6


def test_a_side_alone_is_another_image_than_before():
    hashes = [read(call=call).hash_of(read(call=call).rows[0]) for call in ({"height": 64}, {"height": 64, "width": 64}, {})]
    assert len(set(hashes)) == 3
    assert "sides" not in read(call={"height": 64, "width": 64}).settings_of(read().rows[0])


def test_c5_a_wrong_value_is_called_by_the_word_of_the_surface_and_the_file():
    data = {"rows": [{"method": "reno", "budget": {"seconds": -1}}], "prompts": ["x"]}
    with pytest.raises(ConfigError, match="^--budget-seconds: "):
        Comparison.read(data, {"rows.budget.seconds": "--budget-seconds"})
    with pytest.raises(ConfigError, match="^mine.yaml: row 'reno', budget, seconds: "):
        Comparison.read(data, where="mine.yaml")


def test_c6_a_reward_in_ones_own_file_is_known_and_its_code_is_part_of_the_hash(tmp_path, monkeypatch):
    path = tmp_path / "mine.py"
    path.write_text("def red(images, prompts):\n    return images[:, 0].mean((1, 2))\n")
    plan = read(reward=f"{path}:red", metrics=[f"{path}:red"])
    marks = [plan.hash_of(plan.rows[0])]
    with pytest.raises(ConfigError, match="there is no 'rde'.*did you mean 'red'"):
        read(reward=f"{path}:rde")
    path.write_text("def red(images, prompts):\n    return images[:, 1].mean((1, 2))\n")
    identity._digest.cache_clear()
    assert plan.hash_of(plan.rows[0]) not in marks


def test_prompts_come_from_files_of_every_kind(tmp_path):
    import pyarrow
    import pyarrow.parquet

    (tmp_path / "a.txt").write_text("a cat\n\n a hat \na cat\n")
    (tmp_path / "a.jsonl").write_text('{"text": "a cat", "id": 1}\n{"text": "a hat", "id": 2}\n')
    pyarrow.parquet.write_table(pyarrow.table({"id": [1, 2], "caption": ["a cat", "a hat"]}), tmp_path / "a.parquet")
    for name in ("a.txt", "a.jsonl", "a.parquet"):
        assert prompts.load_prompts(str(tmp_path / name)) == ["a cat", "a hat"], name
        assert prompts.load_prompts(str(tmp_path / name), 1) == ["a cat"]
    assert read(prompts={"from": str(tmp_path / "a.txt"), "n": 1}).prompts == ("a cat",)
    assert prompts.load_prompts("miniature", 5) == [c.text for c in in_turns("test", 5)]
    (tmp_path / "b.jsonl").write_text('{"words": "a cat"}\n')
    for source, n, said in (
        (tmp_path / "b.jsonl", None, "no column of prompts: words"), (tmp_path / "a.txt", 3, "holds 2 prompts, 3 asked"),
        (tmp_path / "none.txt", None, "no file"), ("hub:a/b", None, "SPLIT:COLUMN"), ("miniature", 10**6, "captions asked"),
        ("miniature", 0, "at least 1"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            prompts.load_prompts(str(source), n)


KINDS = {
    "a.csv": 'id,Prompts\n1,"a cat, asleep"\n\n2,"a ""hat"""\n',
    "a.tsv": 'Prompt\tCategory\na cat, asleep\tAnimals\n"a ""hat"""\tArts\n',
    "b.tsv": 'Prompt\tCategory\na cat, asleep\tAnimals\na "hat"\tArts\n',
    "a.json": '["a cat, asleep", "a \\"hat\\""]',
    "b.json": '[{"text": "a cat, asleep", "id": 1}, {"text": "a \\"hat\\""}]',
    "a.jsonl": '"a cat, asleep"\n{"caption": "a \\"hat\\""}\n',
    "a.TXT": 'a cat, asleep\n\na "hat"\n',
    "a": 'a cat, asleep\na "hat"',
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_data_sets_are_read_as_they_come_by_every_command(name, encoding, tmp_path):
    (tmp_path / name).write_text(KINDS[name], encoding=encoding)
    found = ["a cat, asleep", 'a "hat"']
    assert prompts.load_prompts(str(tmp_path / name)) == found == options.read_lines(tmp_path / name)


def test_quotes_in_a_tsv_that_are_none_of_csv_are_kept(tmp_path):
    (tmp_path / "a.tsv").write_text('Prompt\tCategory\n"STOP" on a sign\tArts\n"a cat\tAnimals\n')
    assert prompts.load_prompts(str(tmp_path / "a.tsv")) == ['"STOP" on a sign', '"a cat']


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"prompt": "a"}\n{"prompt": 5}', "a.jsonl, line 2: the prompt is 5; give a text"),
        ("a.jsonl", "7", "line 1: the prompt is 7"), ("a.jsonl", '"a"\n{', "line 2: not JSON"),
        ("a.json", '{"prompts": ["a"]}', "a.json: holds dict; give a list"), ("a.json", "[", "a.json: cannot be read .*give .txt"),
        ("a.json", '["a", ["b"]]', r"element 2: the prompt is \['b'\]"), ("a.json", '[{"words": "a"}]', "element 1 has no column of prompts: words"),
        ("a.csv", "a cat\na dog", "no column of prompts: a cat; name one of them 'prompt'"),
        ("a.csv", "prompt,id\na cat, asleep,1", "line 2: 3 fields under 2 headings; put a field .* in quotes"),
        ("a.csv", "id,prompt\n1", "line 2: 1 fields under 2 headings"), ("a.csv", 'prompt\n"a cat', "a.csv: cannot be read"),
        ("a.xlsx", "PK", "a.xlsx: where the prompts are in a .xlsx file is not known; give .txt"),
        ("a.parquet", "PAR", "a.parquet: cannot be read"), ("a.txt", "\xff", "a.txt: cannot be read .*UTF-8"),
    ],
)  # fmt: skip
def test_a_file_that_holds_no_prompts_is_refused_with_its_place(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=said):
        prompts.load_prompts(str(tmp_path / name))
    with pytest.raises(ConfigError, match=f"^--file .*{said}"):
        options.read_lines(tmp_path / name)


def test_a_library_that_is_not_there_is_an_error_that_names_its_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"dymo-diffusion\[hub\]"):
        prompts.load_prompts("pick-a-pic", 2)


def test_the_judges_captions_are_read_back_from_their_words():
    for caption in captions("test", 200):
        assert read_caption(caption.text) == caption
    with pytest.raises(RewardError, match="the judge cannot read .*'city', 'at', 'night'"):
        read_caption("a city at night")


@pytest.mark.parametrize("number", TABLES)
def test_the_papers_tables_are_plans_and_every_row_of_theirs_is_there_or_left_out_with_a_reason(number):
    here = Comparison.read(read_table(number))
    assert len(here.prompts) == 32 and here.pipeline == "miniature" and not here.paper
    # The row of table 3 that has another guide is guided by no metric of it.
    guides = ("mini-pickscore", "mini-step-aware") if number == 3 else ("mini-pickscore",)
    assert here.guides == guides and {row.lora for row in here.rows} <= {None} | {
        f"lora/{name}.safetensors" for name in ("align-prop", "diffusion-dpo", "diffusion-kto", "spo")
    }
    data = read_table(number, "some/model")
    assert data["prompts"] == {"from": "pick-a-pic", "n": 500}
    real = Comparison.read({**data, "prompts": ["x"]})
    assert real.pipeline == "some/model" and real.scheduler == "ddim"
    names = " | ".join([row.name for row in real.rows] + list(real.left_out)) + " | without Polyak"
    for row in real.paper:
        assert row.split(" (")[0].replace("graphs by Llama-3.3", "graphs by a language model") in names, row
    with pytest.raises(ConfigError, match="--table 5"):
        read_table(5)


def test_loras_with_strengths_and_the_pipeline_s_files_are_part_of_what_an_image_depends_on(tmp_path):
    def mark(**changes):
        plan = read(**changes)
        return plan.hash_of(plan.rows[0])

    # One LoRA is the same alone and as a list, with its strength of 1 and without.
    assert (
        mark(lora="o/l") == mark(lora=["o/l"]) == mark(lora="o/l:1") == mark(rows=[{"method": "reno", "lora": "o/l"}])
    )
    changes = [
        {}, {"lora": "o/l"}, {"lora": "o/l:0.5"}, {"lora": ["o/l", "o/m"]}, {"lora": ["o/l", "o/m:-1"]}, {"variant": "fp16"},
        {"revision": "v1"}, {"pipeline_config": "a/b"}, {"dtype": "auto"}, {"scheduler": "dpm++ 2m karras"},
    ]  # fmt: skip
    assert len({mark(**change) for change in changes}) == len(changes)
    # The memory that models take changes no image; and what is not given leaves no trace in the settings.
    assert mark(offload="model") == mark()
    assert not {"variant", "revision", "pipeline_config", "offload"} & read().settings_of(read().rows[0]).keys()
    assert read(lora=["o/l:0.5", "b"]).loras_of(read().rows[0]) == [("o/l", 0.5), ("b", 1.0)]
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(name.encode())
    assert mark(lora=f"{tmp_path}/one:0.5") != mark(lora=f"{tmp_path}/two:0.5")


def test_rows_whose_weights_are_not_in_the_package_are_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(reading, "WEIGHTS", tmp_path)
    data = read_table(2)
    assert (
        "SPO" not in [row["name"] for row in data["rows"]] and "is not in the package" in data["left_out"]["SPO + DyMO"]
    )


def test_a_row_may_be_the_name_of_a_method_and_budgets_may_be_trajectories():
    row = RowSpec.model_validate({"method": "reno", "budget": {"trajectories": 3}})
    assert row.name == "reno" and row.budget.trajectories == 3
    assert RowSpec.model_validate("plain") == RowSpec(name="plain")
    assert (
        read(rows=[{"name": "a", "reward": False}], reward="mini-hps").reward_of(RowSpec(name="a", reward=False))
        is None
    )
    plan = read(rows=[{"name": "a", "call": {"eta": None}}], call={"eta": 1.0})
    assert "eta" not in plan.call_of(plan.rows[0])


def test_what_the_command_line_takes_a_plan_takes_and_right_settings_are_as_they_were():
    plan = read(seeds="0-2, 7", metrics="mini-hps", rows=[
        {"method": "attend-excite", "settings": {"thresholds": [[0, 0.5]], "length": 10}}, {"method": "reno", "settings": {"lr": 5}},
        {"method": "dymo", "settings": {"parser": {"name": "spacy"}, "preview_vae": None}},
    ])  # fmt: skip
    assert plan.seeds == (0, 1, 2, 7) and plan.metrics == ("mini-hps",)
    assert read(metrics="mini-hps, mini-aesthetic").metrics == ("mini-hps", "mini-aesthetic")
    assert plan.rows[0].settings == {"thresholds": [[0, 0.5]], "length": 10}, "the hash is of what was given"
    assert read(seeds=[-1]).seeds == (-1,)


def test_a_set_of_the_hub_is_read_by_its_column(tmp_path):
    """A folder stands for the id; the client reads it by the same code."""
    pytest.importorskip("datasets")
    lines = [{"said": text, "other": i} for i, text in enumerate(("a red apple", "a red apple", "a cat", "a dog"))]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert prompts.load_prompts(f"hub:{tmp_path}:train:said", 2) == ["a red apple", "a cat"]
    with pytest.raises(ConfigError, match="no column of prompts: said, other"):
        prompts.load_prompts(f"hub:{tmp_path}:train:prompt", 2)
