"""`dymo bench` from the command line, on the miniature: real pictures, a second run that only adds, the report anew."""

import dataclasses
import json

import pytest
import tiny
import torch
from typer.testing import CliRunner

from dymo import Budget, load_miniature
from dymo.bench.engines import Place, place_here
from dymo.bench.painter import Painter, pixels, png
from dymo.bench.plan import Match, Plan, Row
from dymo.bench.results import collect
from dymo.bench.runner import jobs_of, work
from dymo.bench.store import Key, Store
from dymo.cli import app
from dymo.errors import ConfigError, PipelineError
from dymo.pipelines.variants import variant

CALL = {"num_inference_steps": 3, "guidance_scale": 1.5}
QUICK = ["--steps", "3", "--n", "2"]


def bench(*words):
    return CliRunner().invoke(app, ["bench", *map(str, words)])


@pytest.mark.miniature
def test_a_comparison_runs_goes_on_and_reports(tmp_path):
    first = bench("--method", "plain", "--method", "best-of-n", "--budget-evaluations", 6, *QUICK, "--outdir", tmp_path)
    assert first.exit_code == 0, first.output
    assert "judge, %" in first.output and "best-of-n" in first.output
    shards = {path: path.stat().st_mtime_ns for path in (tmp_path / "pictures").rglob("*.parquet")}
    assert len(shards) == 4
    more = ["--method", "plain", "--method", "best-of-n", "--method", "fk-steering", "--budget-evaluations", 6]
    second = bench(*more, *QUICK, "--outdir", tmp_path, "--metrics", "mini-hps,judge,no-such-metric")
    assert second.exit_code == 0, second.output
    assert "left out: no-such-metric" in second.output
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "pictures").rglob("*.parquet")}
    assert len(after) == 6 and {path: after[path] for path in shards} == shards
    assert len(json.loads((tmp_path / "plan.json").read_text())["rows"]) == 3
    anew = bench("report", tmp_path, "--versus", "best-of-n", "--out", tmp_path / "docs")
    assert anew.exit_code == 0, anew.output
    assert "Against best-of-n" in (tmp_path / "docs" / "report.html").read_text()
    assert bench("report", tmp_path, "--versus", "nobody").exit_code == 2


@pytest.mark.miniature
def test_the_first_table_reduced_has_every_row_and_column(tmp_path):
    """The command of docs/tables.md with fewer prompts and steps."""
    found = bench("--table", 1, "--n", 2, "--steps", 2, "--outdir", tmp_path)
    assert found.exit_code == 0, found.output
    plan, store = Plan.load(tmp_path / "plan.json"), Store(tmp_path)
    names = {row.name for row in plan.rows}
    assert {"DNO", "FreeDoM", "ReNO", "Attend-and-Excite", "AlignProp + DyMO", "best-of-N, DyMO's seconds"} <= names
    assert max(row.budget["evaluations"] for row in plan.rows if row.budget) == 20
    for result in collect(plan, store):
        assert len(result.pictures) == 2 and not result.failures, result.row.name
        assert all(len(result.values[name]) == 2 for name in plan.metrics)
    text = (tmp_path / "report.md").read_text()
    assert "DyMO against best-of-N, ReNO and FK-steering" in text and "Only 2 pairs" in text


@pytest.mark.miniature
def test_a_batch_is_as_its_pictures_one_by_one(tmp_path):
    rows = ({"method": "plain"}, {"method": "fk-steering", "settings": {"k": 2}})
    plan = Plan.from_dict(
        {"rows": rows, "prompts": ["a red apple", "a blue car"], "reward": "mini-pickscore", "call": CALL}
    )
    found = {}
    for batch in (1, 2):
        store, batched = Store(tmp_path / str(batch)), dataclasses.replace(plan, batch=batch)
        painter = Painter(batched, store, lambda name: load_miniature(), {})
        assert work(batched, store, painter).painted == 4
        found[batch] = [store.get(key) for job in jobs_of(batched) for key in job.keys]
    order = [sorted(found[batch], key=lambda one: (one["row"], one["prompt"])) for batch in (1, 2)]
    for one, other in zip(*order, strict=True):
        assert one["evaluations"] == other["evaluations"] and one["denoiser_rows"] == other["denoiser_rows"]
        assert (pixels([one["png"]]) - pixels([other["png"]])).abs().max() < 2 / 255


def test_what_another_row_spent_is_the_budget_of_the_batch(tmp_path):
    rows = (Row("a"), Row("b", "best-of-n", match=Match("a")), Row("c", "best-of-n", match=Match("a", "seconds")))
    plan, store = Plan(rows=rows, prompts=("x", "y"), batch=2, call={"num_inference_steps": 10}), Store(tmp_path)
    keys = [Key(plan.hash_of(plan.row("a")), prompt, 0) for prompt in plan.prompts]
    for key, evaluations, seconds in zip(keys, (10, 13), (1.5, 2.0), strict=True):
        store.put(key, {"evaluations": evaluations, "seconds": seconds})
    painter = Painter(plan, store, lambda name: None, {})
    budget = {row.name: painter._budget(row, [Key(plan.hash_of(row), p, 0) for p in plan.prompts]) for row in rows}
    assert budget == {"a": None, "b": Budget(evaluations=20), "c": Budget(seconds=3.5)}
    store._path(keys[1], None).unlink()
    with pytest.raises(ConfigError, match="is not there"):
        painter._budget(rows[1], [Key(plan.hash_of(rows[1]), p, 0) for p in plan.prompts])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give one of"),
        (["--table", 1, "--method", "plain"], "give one of"),
        (["--table", 7], "--table 7"),
        (["--method", "plane"], "did you mean 'plain'"),
        (["--method", "plain", "--engine", "cloud"], "--engine 'cloud'"),
        (["--table", 1, "--budget-seconds", 3], "leave out"),
        (["--method", "plain", "--n", 0], "above 0"),
        (["report", "/nowhere"], "no plan of a run"),
    ],
)
def test_wrong_words_are_refused_in_one_line(words, said, tmp_path):
    extra = [] if words and words[0] == "report" else ["--outdir", tmp_path]
    found = bench(*words, *extra)
    assert found.exit_code == 2 and said in " ".join(found.output.split())


def test_a_process_knows_its_place_from_the_launcher(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert place_here() == Place()
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert place_here() == Place(3, 4, 1)
    monkeypatch.setenv("RANK", "three")
    with pytest.raises(ConfigError, match="RANK"):
        place_here()


def test_pictures_go_through_the_store_to_eight_bits():
    image = torch.rand(3, 5, 7)
    assert (pixels([png(image)])[0] - image).abs().max() <= 0.5 / 255 + 1e-6


def test_trained_weights_are_in_the_pipeline_for_a_while(tmp_path):
    pipe = tiny.sd()
    plain = pipe("a cat", generator=torch.Generator().manual_seed(0), **tiny.SMALL).images
    torch.manual_seed(5)
    tiny.unet().save_pretrained(tmp_path / "unet")
    own = pipe.unet
    with variant(pipe, unet=str(tmp_path)):
        other = pipe("a cat", generator=torch.Generator().manual_seed(0), **tiny.SMALL).images
        assert pipe.unet is not own
    assert pipe.unet is own and not torch.equal(other, plain)
    assert torch.equal(pipe("a cat", generator=torch.Generator().manual_seed(0), **tiny.SMALL).images, plain)
    tiny.unet(cross_attention_dim=64).save_pretrained(tmp_path / "wrong")
    with pytest.raises(PipelineError, match="cross_attention_dim=64"), variant(pipe, unet=str(tmp_path / "wrong")):
        pass
    with pytest.raises(PipelineError, match="no-such-lora"), variant(pipe, lora=str(tmp_path / "no-such-lora")):
        pass
    assert pipe.unet is own


def test_a_lora_that_a_trainer_saved_loads_by_its_file(tmp_path):
    from peft import LoraConfig

    from training.lora import TARGETS, save

    trained = tiny.sd()
    trained.unet.add_adapter(LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=TARGETS))
    save(trained.unet, tmp_path / "mine.safetensors")
    pipe, z, t = tiny.sd(), torch.randn(1, 4, 8, 8), torch.tensor(10)
    words = torch.randn(1, 5, 32)
    expected = trained.unet(z, t, encoder_hidden_states=words).sample
    plain = pipe.unet(z, t, encoder_hidden_states=words).sample
    with variant(pipe, lora=str(tmp_path / "mine.safetensors")):
        found = pipe.unet(z, t, encoder_hidden_states=words).sample
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert (found - plain).abs().max() > 1e-4
    torch.testing.assert_close(pipe.unet(z, t, encoder_hidden_states=words).sample, plain)
