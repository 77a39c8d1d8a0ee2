"""`dymo bench` from the command line, on the miniature: real images, a second run that only adds, the report again."""

import json

import pytest
import tiny
import torch
from PIL import Image
from typer.testing import CliRunner

from dymo import Budget, load_miniature
from dymo.bench.flops import flop_counter
from dymo.bench.plan import Comparison
from dymo.bench.reading import read_table
from dymo.bench.results import collect
from dymo.bench.runner import jobs_of, work
from dymo.bench.store import Key, Store
from dymo.bench.worker import Worker
from dymo.cli import app
from dymo.errors import ConfigError, PipelineError
from dymo.pipelines.variants import variant
from dymo.pixels import from_pil
from dymo.report.png import read_png

CALL = {"num_inference_steps": 3, "guidance_scale": 1.5}
QUICK = ["--steps", "2", "--n", "2"]


def bench(*words):
    return CliRunner().invoke(app, ["bench", *map(str, words)])


@pytest.mark.miniature
def test_a_comparison_runs_is_extended_and_reports(tmp_path):
    rows = ["--method", "plain", "--method", "best-of-n", "--budget-evaluations", 4]
    first = bench(*rows, *QUICK, "--outdir", tmp_path / "run")
    assert first.exit_code == 0, first.output
    assert "judge" in first.output and "too few pairs" in first.output
    images = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "images").rglob("*.png")}
    assert len(images) == 4
    _, record = read_png(next(iter(images)))
    assert record["method"] in ("plain", "best-of-n") and record["prompt"], "so that dymo score reads it"
    more = [*rows, "--method", "fk-steering", *QUICK, "--outdir", tmp_path / "run", "--metrics", "mini-hps,judge"]
    refused = bench(*more)
    assert refused.exit_code == 2 and "--extend" in refused.output
    second = bench(*more, "--extend")
    assert second.exit_code == 0, second.output
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "images").rglob("*.png")}
    assert len(after) == 6 and {path: after[path] for path in images} == images
    assert len(json.loads((tmp_path / "run" / "plan.json").read_text())["rows"]) == 3
    anew = bench("report", tmp_path / "run", "--versus", "best-of-n", "--out", tmp_path / "docs")
    assert anew.exit_code == 0, anew.output
    assert "Against best-of-n" in (tmp_path / "docs" / "report.html").read_text()
    assert bench("report", tmp_path / "run", "--versus", "nobody").exit_code == 2


TRIED = ("DNO", "FreeDoM", "DyMO", "AlignProp + DyMO", "Attend-and-Excite", "best-of-N, DyMO's TFLOP")


@pytest.mark.miniature
def test_the_first_table_reduced_runs_a_row_of_each_kind_and_has_every_column(tmp_path):
    """The table of docs/tables.md with fewer rows, prompts, steps, trajectories and seeds."""
    data = read_table(1)
    assert len(Comparison.read(data).rows) == 36
    data["rows"] = [dict(row) for row in data["rows"] if row["name"] in TRIED]
    for row in data["rows"]:
        if "budget" in row:
            row["budget"] = {"trajectories": 2}
        if row.get("settings") == {"preset": "fast"}:
            row["settings"] = {"preset": "fast", "settings": {"scouts": 1}}
    data["call"] = {**data.get("call", {}), "height": 64, "width": 64}
    (tmp_path / "reduced.yaml").write_text(json.dumps(data))
    found = bench("--config", tmp_path / "reduced.yaml", "--n", 1, "--steps", 2, "--outdir", tmp_path / "run")
    assert found.exit_code == 0, found.output
    plan, store = Comparison.load(tmp_path / "run"), Store(tmp_path / "run")
    assert {row.name for row in plan.rows} == set(TRIED)
    for result in collect(plan, store):
        assert len(result.images) == 1 and not result.failures, result.row.name
        assert all(len(result.values[name]) == 1 for name in plan.metrics)
        assert result.row.budget is None or result.mean("evaluations") <= 4
    text = (tmp_path / "run" / "report.md").read_text()
    assert "Against DyMO" in text and "too few pairs" in text


@pytest.mark.miniature
def test_a_batch_is_as_its_images_one_by_one(tmp_path):
    data = {
        "rows": ["plain", {"method": "fk-steering", "settings": {"k": 2}}], "prompts": ["a red apple", "a blue car"],
        "metrics": [], "call": {**CALL, "height": 64, "width": 64},
    }  # fmt: skip
    found = {}
    for batch in (1, 2):
        plan, store = Comparison.read({**data, "batch": batch}), Store(tmp_path / str(batch))
        assert work(plan, store, Worker(plan, store, lambda name: load_miniature())).generated == 4
        keys = [key for job in jobs_of(plan) for key in job.keys]
        found[batch] = sorted(
            ((store.record(key), store.image_path(key)) for key in keys), key=lambda r: (r[0]["row"], r[0]["prompt"])
        )
    for (one, image), (other, its) in zip(found[1], found[2], strict=True):
        assert one["evaluations"] == other["evaluations"] and one["denoiser_rows"] == other["denoiser_rows"]
        assert one["tflop"] == pytest.approx(other["tflop"])
        assert (from_pil([Image.open(image)]) - from_pil([Image.open(its)])).abs().max() < 2 / 255


@pytest.mark.miniature
def test_c6_counted_operations_are_those_of_the_denoiser_and_what_surrounds_it(tmp_path):
    """A plain run of n steps is a + n b operations, b those of the UNet on two rows: no clock is in it."""
    total = {}
    for steps in (2, 4):
        plan = Comparison.read(
            {
                "rows": ["plain"],
                "prompts": ["a red apple"],
                "metrics": [],
                "call": {**CALL, "num_inference_steps": steps},
            }
        )
        worker = Worker(plan, Store(tmp_path / str(steps)), lambda name: load_miniature())
        total[steps] = worker._flops(plan.rows[0]) * steps
        assert worker._flops(plan.rows[0]) * steps == total[steps]
    pipe = load_miniature()
    config, words = pipe.unet.config, pipe.encode_prompt("a red apple", "cpu", 1, True)
    with flop_counter() as counter, torch.no_grad():
        z = torch.zeros(2, config.in_channels, config.sample_size, config.sample_size)
        pipe.unet(z, torch.tensor(10), encoder_hidden_states=torch.cat(words[:2]))
    assert (total[4] - total[2]) / 2 == counter.get_total_flops() > 0


@pytest.mark.miniature
def test_what_another_row_spent_is_the_budget_of_the_same_images(tmp_path):
    matches = [
        {"name": by, "method": "best-of-n", "match": {"row": "a", "by": by}}
        for by in ("evaluations", "seconds", "tflop")
    ]
    own = {"name": "own", "method": "reno", "budget": {"trajectories": 3}}
    data = {
        "rows": [{"name": "a"}, *matches, own],
        "prompts": ["x", "y"],
        "batch": 2,
        "metrics": [],
        "call": {"num_inference_steps": 10},
    }
    plan, store = Comparison.read(data), Store(tmp_path)
    worker = Worker(plan, store, lambda name: None)
    keys = {row.name: [Key(plan.hash_of(row), prompt, 0) for prompt in plan.prompts] for row in plan.rows}
    for key, evaluations, seconds in zip(keys["a"], (10, 13), (1.5, 2.0), strict=True):
        store.put(key, {"evaluations": evaluations, "seconds": seconds, "tflop": 0.3 * evaluations}, b"")
    budgets = {row.name: worker._budgets(row, keys[row.name], 1e11) for row in plan.rows}

    def both(name, **budget):
        return {Budget(**budget): keys[name]}

    # 10 and 13 evaluations; 3.0 and 3.9 TFLOP at 0.1 an evaluation: rounded up to whole trajectories.
    each = {Budget(evaluations=10 * (i + 1)): keys["evaluations"][i : i + 1] for i in range(2)}
    dearer = {Budget(evaluations=30 + 10 * i): keys["tflop"][i : i + 1] for i in range(2)}
    assert budgets == {
        "a": {None: keys["a"]}, "evaluations": each, "seconds": both("seconds", seconds=3.5), "tflop": dearer,
        "own": both("own", evaluations=30),
    }  # fmt: skip
    store.image_path(keys["a"][1]).unlink()
    with pytest.raises(ConfigError, match="is not there"):
        worker._budgets(plan.rows[1], keys["evaluations"], 1e11)


@pytest.mark.miniature
@pytest.mark.parametrize(
    "plan, said",
    [
        ("call: {num_inference_steps: 2, guidance_s: 4.0}\nrows: [plain]", "row 'plain', call: StableDiffusionPipeline has no argument 'guidance_s'"),
        ("rows: [plain, {name: b, method: plain, budget: {evaluations: 3}}]", "row 'b', budget, evaluations: 3: the 25 steps of a"),
    ],
)
def test_a_call_that_no_image_could_be_made_with_is_refused(tmp_path, plan, said):
    (tmp_path / "mine.yaml").write_text(f"prompts: [a red apple]\nmetrics: [mini-hps]\n{plan}")
    found = bench("--config", tmp_path / "mine.yaml", "--outdir", tmp_path / "run")
    assert found.exit_code == 2 and said in " ".join(found.output.split()), found.output


def test_one_seed_may_stand_without_brackets():
    assert Comparison.read({"rows": ["plain"], "prompts": ["a red apple"], "metrics": [], "seeds": 3}).seeds == (3,)


@pytest.mark.miniature
def test_c5_a_run_whose_rows_failed_ends_with_exit_code_1_and_its_report(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "prompts: [a red apple]\nmetrics: [mini-hps]\ncall: {num_inference_steps: 2}\n"
        "rows: [plain, {name: broken, call: {callback_on_step_end_tensor_inputs: [nothing]}}]"
    )
    found = bench("--config", tmp_path / "mine.yaml", "--outdir", tmp_path / "run")
    assert found.exit_code == 1, found.output
    assert "Images that failed: 1 (broken)" in found.output and "Report:" in found.output
    assert "broken, 'a red apple', seed 0:" in (tmp_path / "run" / "report.md").read_text()


@pytest.mark.miniature
def test_c6_a_method_and_a_metric_in_ones_own_file(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from dymo.methods import load_method\n\n\nclass Twice:\n"
        "    def run(self, pipe, prompts, reward=None, budget=None, generator=None, **kwargs):\n"
        "        return load_method('plain').run(pipe, prompts, None, budget, generator, **kwargs)\n\n\n"
        "def red(images, prompts):\n    return images[:, 0].mean((1, 2))\n"
    )
    own = tmp_path / "mine.py"
    words = ["--method", f"{own}:Twice", "--method", "plain", "--metrics", f"{own}:red"]
    found = bench(*words, "--steps", 2, "--n", 1, "--outdir", tmp_path / "run")
    assert found.exit_code == 0, found.output
    rows = json.loads((tmp_path / "run" / "report" / "results.json").read_text())["rows"]
    assert rows[0][f"{own}:red"] == rows[1][f"{own}:red"] > 0


def sometimes_nan(folder):
    """A metric in a file that gives nan, or infinity, where a prompt says so."""
    (folder / "odd.py").write_text(
        "import torch\n\n\ndef odd(images, prompts):\n"
        "    said = {'a red apple': float('nan'), 'a green apple': float('inf')}\n"
        "    return torch.tensor([said.get(prompt, 0.5) for prompt in prompts])\n"
    )
    return f"{folder / 'odd.py'}:odd"


@pytest.mark.miniature
def test_a_score_that_is_not_finite_is_a_failure_of_that_image_and_metric_and_the_report_is_written(tmp_path):
    odd = sometimes_nan(tmp_path)
    data = {
        "prompts": ["a red apple", "a blue car", "a green apple"], "metrics": ["mini-hps", odd], "batch": 3,
        "call": {"num_inference_steps": 2, "height": 64, "width": 64}, "rows": ["plain", {"name": "best", "method": "best-of-n", "match": "plain"}],
    }  # fmt: skip
    (tmp_path / "mine.yaml").write_text(json.dumps(data))
    for _ in range(2):  # the second run tries the metric again, and generates nothing
        found = bench("--config", tmp_path / "mine.yaml", "--outdir", tmp_path / "run")
        assert found.exit_code == 1, found.output
        said = (tmp_path / "run" / "report.md").read_text()
        for value in ("nan", "inf"):
            assert f"metric {odd} gave {value}" in said
        assert bench("report", tmp_path / "run").exit_code == 1
        assert "Images that failed: 4 (plain, best)" in said and "not generated yet" not in said
    plan, store = Comparison.load(tmp_path / "run"), Store(tmp_path / "run")
    for result in collect(plan, store):
        assert len(result.images) == len(result.values["mini-hps"]) == 3
        assert result.values[odd] == {("a blue car", 0): 0.5}
    assert "NaN" not in (tmp_path / "run" / "report" / "results.json").read_text()


def test_c5_a_reward_that_cannot_be_loaded_is_refused_before_the_first_image(tmp_path):
    (tmp_path / "empty").mkdir()
    for extra in (["--metrics", tmp_path / "empty"], ["--reward", tmp_path / "empty"]):
        found = bench("--method", "plain", *QUICK, "--outdir", tmp_path / "run", *extra)
        assert found.exit_code == 2 and "cannot be loaded" in found.output and "Nothing was generated" in found.output
        assert not list((tmp_path / "run").rglob("*.png"))


def test_c5_every_comparison_has_its_own_folder(tmp_path, monkeypatch):
    from dymo.bench import runner
    from dymo.errors import DyMOError

    def stop(*_):
        raise DyMOError("stopped")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "work_here", stop)
    for words in (["--table", 4], ["--table", 4, "--seeds", "1"], ["--method", "plain"], ["--method", "plain"]):
        assert "stopped" in bench(*words).output
    folders = sorted(path.name.rpartition("-")[0] for path in (tmp_path / "runs").iterdir())
    assert folders == ["bench", "table-4", "table-4"]


def test_the_options_of_the_model_reach_it(tmp_path, monkeypatch):
    from dymo.bench import runner
    from dymo.commands import models
    from dymo.errors import DyMOError

    asked = []
    monkeypatch.setattr("dymo.commands.bench.check_places", lambda *_: None)
    monkeypatch.setattr(models, "load_pipeline", lambda *given, **more: asked.append((given, more)))

    def load_both(plan, store, load, *_):
        assert plan.lora == ("a.safetensors:0.5", "owner/b")
        load(plan.pipeline)
        load("another/model")
        raise DyMOError("stopped")

    monkeypatch.setattr(runner, "work_here", load_both)
    words = [
        "--method",
        "plain",
        "--pipeline",
        "some/model",
        "--lora",
        "a.safetensors:0.5",
        "--lora",
        "owner/b",
        "--variant",
        "fp16",
    ]
    words += [
        "--revision",
        "v1",
        "--dtype",
        "auto",
        "--scheduler",
        "euler a",
        "--device",
        "cpu",
        "--metrics",
        "mini-hps",
    ]
    assert "stopped" in bench(*words, "--reward", "mini-hps", "--outdir", tmp_path).output
    (own, more), (other, others) = asked
    assert own == ("some/model", "euler a", "auto", "cpu") and (more["variant"], more["revision"]) == ("fp16", "v1")
    # Another row's own pipeline comes with its own scheduler, from its own files.
    assert other == ("another/model", None, "auto", "cpu") and others["variant"] is others["revision"] is None


def test_a_row_has_its_loras_with_their_strengths(tmp_path):
    from safetensors.torch import save_file

    files = []
    for seed in range(2):
        torch.manual_seed(seed)
        pairs = {name: module for name, module in tiny.unet().named_modules() if name.endswith("attn2.to_q")}
        weights = {f"unet.{name}.lora_A.weight": torch.randn(2, module.in_features) for name, module in pairs.items()}
        weights |= {f"unet.{name}.lora_B.weight": torch.randn(module.out_features, 2) for name, module in pairs.items()}
        save_file(weights, tmp_path / f"{seed}.safetensors")
        files.append(str(tmp_path / f"{seed}.safetensors"))
    rows = ["plain", {"name": "one", "lora": files[0]}, {"name": "both", "lora": [f"{files[0]}:0.5", f"{files[1]}:-2"]}]
    plan = Comparison.read({"rows": rows, "prompts": ["x"], "metrics": [], "reward": False})
    pipe, theirs = tiny.sd(), tiny.sd()
    for name, file in zip("ab", files, strict=True):
        theirs.load_lora_weights(file, adapter_name=name)
    theirs.set_adapters(["a", "b"], [0.5, -2.0])
    given = torch.randn(1, 4, 8, 8), torch.tensor(10), torch.randn(1, 5, 32)
    plain = pipe.unet(*given).sample
    worker = Worker(plan, Store(tmp_path / "run"), lambda name: pipe)
    assert torch.equal(worker._pipe(plan.row("both")).unet(*given).sample, theirs.unet(*given).sample)
    assert torch.equal(worker._pipe(plan.row("plain")).unet(*given).sample, plain)
    theirs.set_adapters(["a"], [1.0])
    assert torch.equal(worker._pipe(plan.row("one")).unet(*given).sample, theirs.unet(*given).sample)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give one of"),
        (["--table", 1, "--method", "plain"], "give one of"),
        (["--table", 7], "--table 7"),
        (["--method", "plane"], "--method: unknown method 'plane'"),
        (["--method", "plain", "--engine", "cloud"], "engine"),
        (["--method", "plain", "--method", "best-of-n"], "--method best-of-n has no end without a budget: add --budget-evaluations"),
        (["--method", "plain", "--seeds", "0-x"], "--seeds '0-x': cannot read"),
        (["--method", "plain", "--guidance-scale", "nan"], "--guidance-scale: nan: give a number"),
        (["--table", 1, "--budget-seconds", 3], "--budget-seconds belongs to --method"),
        (["--method", "plain", "--budget-evaluations", 0], "--budget-evaluations: "),
        (["--method", "plain", "--n", 0], "--n: "),
        (["--method", "plain", "--metrics", "mini-hsp"], "--metrics: unknown reward 'mini-hsp'"),
        (["--method", "plain", "--reward", "mini-hsp"], "--reward: unknown reward 'mini-hsp'"),
        (["--method", "plain", "--scheduler", "dimm"], "--scheduler: 'dimm'"),
        (["--method", "plain", "--batch", 0], "--batch: "),
        (["--method", "plain", "--steps", 0], "--steps: 0: give a whole number from 1 on"),
        (["--method", "plain", "--versus", "ours"], "--versus: 'ours' is no row"),
        (["--config", "/nowhere.yaml"], "/nowhere.yaml: cannot be read"),
        (["report", "/nowhere"], "no comparison"),
    ],
)
def test_wrong_words_are_refused_in_one_line(words, said, tmp_path):
    extra = [] if words and words[0] == "report" else ["--outdir", tmp_path]
    found = bench(*words, *extra)
    assert found.exit_code == 2 and said in " ".join(found.output.split()), found.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("call: {etta: 1}\nrows: [plain]", "row 'plain', call: StableDiffusionPipeline has no argument 'etta' (did you mean 'eta'?)"),
        ("rows: [plain, {name: r, method: plain, call: {detail: 2}}]", "row 'r', call: StableDiffusionPipeline has no argument 'detail'"),
        ("rows: [{name: r, method: plain, call: {num_inference_steps: 2000}}]", "row 'r', call.num_inference_steps: 2000: DDIMScheduler has 1000"),
        ("rows: [{name: f, method: plain, scheduler: FlowMatchEulerDiscreteScheduler}]", "row 'f', scheduler: 'FlowMatchEulerDiscreteScheduler': "),
        ("offload: model\nrows: [plain]", "offload: model: needs an accelerator"),
    ],
)
@pytest.mark.miniature
def test_what_the_pipeline_cannot_take_is_refused_before_anything_is_written(text, said, tmp_path):
    (tmp_path / "p.yaml").write_text(f"prompts: [a red apple]\n{text}\n")
    found = bench("--config", tmp_path / "p.yaml", "--outdir", tmp_path / "run", "--device", "cpu")
    output = " ".join(found.output.split())
    assert found.exit_code == 2 and f"{tmp_path / 'p.yaml'}: {said}" in output, found.output
    assert "generator" not in output and "--offload" not in output
    assert not (tmp_path / "run").exists()


def test_a_prompt_that_the_miniature_cannot_draw_is_refused(tmp_path):
    (tmp_path / "owls.txt").write_text("a red apple\na teal owl\n")
    found = bench("--method", "plain", "--prompts", tmp_path / "owls.txt", "--metrics", "mini-hps", "--outdir", tmp_path / "run")
    output = " ".join(found.output.split())
    assert found.exit_code == 2 and "does not know 'teal', 'owl'" in output and "--pipeline names another model" in output, output
    assert not (tmp_path / "run").exists()


@pytest.mark.miniature
def test_a_side_alone_is_completed_by_the_model_s_own(tmp_path):
    rows = [{"method": "plain", "call": {"height": 64}}]
    plan = Comparison.read({"rows": rows, "prompts": ["a red apple"], "metrics": [], "call": {"num_inference_steps": 1}})
    store = Store(tmp_path)
    assert not work(plan, store, Worker(plan, store, lambda name: load_miniature())).failed
    assert [Image.open(path).size for path in tmp_path.rglob("*.png")] == [(128, 64)]


def test_trained_weights_are_in_the_pipeline_for_a_while(tmp_path):
    pipe = tiny.sd()
    plain = pipe("a cat", generator=torch.Generator().manual_seed(0), **tiny.SMALL).images
    torch.manual_seed(5)
    tiny.unet().save_pretrained(tmp_path / "unet")
    own = pipe.unet
    with variant(pipe, unet=str(tmp_path)) as made:
        other = made("a cat", generator=torch.Generator().manual_seed(0), **tiny.SMALL).images
        assert made.unet is not own and pipe.unet is own
    assert pipe.unet is own and not torch.equal(other, plain)
    assert torch.equal(pipe("a cat", generator=torch.Generator().manual_seed(0), **tiny.SMALL).images, plain)
    tiny.unet(cross_attention_dim=64).save_pretrained(tmp_path / "wrong")
    with pytest.raises(PipelineError, match="cross_attention_dim 64"), variant(pipe, unet=str(tmp_path / "wrong")):
        pass
    with (
        pytest.raises(PipelineError, match="no-such-lora"),
        variant(pipe, loras=[(str(tmp_path / "no-such-lora"), 1.0)]),
    ):
        pass
    assert pipe.unet is own


def test_a_row_may_have_its_own_sampler():
    pipe = tiny.sd()
    own = pipe.scheduler
    with pytest.raises(RuntimeError), variant(pipe, scheduler="dpm++ 2m karras") as made:
        assert made is pipe and pipe.scheduler.config.use_karras_sigmas
        raise RuntimeError
    assert pipe.scheduler is own
    rows = [{"method": "plain", "name": "a"}, {"method": "plain", "name": "b", "scheduler": "dpm++ 2m"}]
    plan = Comparison.read({"rows": rows, "prompts": ["a red apple"], "scheduler": "euler"})
    assert [plan.settings_of(row)["scheduler"] for row in plan.rows] == ["euler", "dpm++ 2m"]
    with pytest.raises(ConfigError, match=r"row.*'elur'"):
        Comparison.read({"rows": [{"method": "plain", "scheduler": "elur"}], "prompts": ["a red apple"]})


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
    with variant(pipe, loras=[(str(tmp_path / "mine.safetensors"), 1.0)]):
        found = pipe.unet(z, t, encoder_hidden_states=words).sample
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert (found - plain).abs().max() > 1e-4
    torch.testing.assert_close(pipe.unet(z, t, encoder_hidden_states=words).sample, plain)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rows: [plain]\nprompts: [a]\nrows: [dymo]\n", "line 3: 'rows' is there twice"),
        ("rows:\n  - {method: plain, call: {eta: 1, eta: 0}}\n", "line 2: 'eta' is there twice"),
        ("", "holds nothing, not settings"),
        ("a: &x {b: 1}\nc: [*x, *x]\nrows: [plain]\n", "there is no 'a'"),
    ],
)
def test_a_plan_with_a_key_twice_is_refused(tmp_path, text, said):
    (tmp_path / "mine.yaml").write_text(text)
    found = bench("--config", tmp_path / "mine.yaml", "--outdir", tmp_path / "run")
    assert found.exit_code == 2 and said in " ".join(found.output.split())
    assert not (tmp_path / "run").exists()


def test_an_interrupt_says_what_is_kept(tmp_path, monkeypatch):
    import dymo.bench.runner

    def interrupted(plan, store, load, device, rank, update):
        update(dymo.bench.runner.Progress(total=4, done=1))
        raise KeyboardInterrupt

    monkeypatch.setattr(dymo.bench.runner, "work_here", interrupted)
    found = bench("--method", "plain", *QUICK, "--outdir", tmp_path / "run")
    assert found.exit_code == 130
    assert "Interrupted: 1 of 4 images are in" in found.output and "run the same command again" in found.output
