"""The command line: what it writes, and that bad input is one clear line and writes nothing."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import warnings
from collections import namedtuple
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import dymo
from dymo import cli
from dymo.cli import app
from dymo.commands import job as job_command
from dymo.commands.names import file_stems
from dymo.commands.options import check_miniature_words, read_config, read_loras, read_seeds
from dymo.errors import ConfigError, PromptError, RewardError, RunWarning
from dymo.events import Accepted
from dymo.parts import Set, Setting
from dymo.pipelines import memory
from dymo.report.png import read_png
from dymo.trace import Cost, Step, Trace

PROMPT = "a red apple and a green car"


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200", "NO_COLOR": "1"})


class FakePipe:
    """A pipeline that generates one colour a seed."""

    scheduler = SimpleNamespace()

    def __call__(self, prompt, num_inference_steps=50, guidance_scale=7.5, height=None, generator=None, **kwargs):
        if kwargs:
            raise TypeError(f"__call__() got an unexpected keyword argument {next(iter(kwargs))!r}")
        colour = tuple(torch.randint(0, 256, (3,), generator=generator).tolist())
        return SimpleNamespace(images=[Image.new("RGB", (64, 64), colour)])


class FakeDyMO:
    """An aligner that runs the pipeline, and says that the reward rose."""

    made: ClassVar[list[tuple]] = []

    def __init__(self, reward, preset="default", **overrides):
        self.made.append((reward and reward.name, preset, overrides))

    def __call__(self, pipe, prompt, graph=None, budget=None, listeners=(), **kwargs):
        output = pipe(prompt, **kwargs)
        steps = [
            Step(
                i, 900 - 400 * i, "semantic", reward=[0.1 * i], gradient_norm=[1.0], displacement=[0.1], recurrences=[i]
            )
            for i in range(2)
        ]
        for step in steps:
            for listener in listeners:
                listener(Accepted(step, lambda: None))
        output.trace = Trace([prompt], [None], {}, steps, evaluations=[3], cost=Cost(seconds=0.5))
        return output


class FakeReward:
    """The mean of the red channel."""

    def __init__(self, name):
        self.name = name

    def to(self, device):
        return self

    def score(self, images, prompts):
        return images[:, 0].mean((1, 2))


@pytest.fixture
def fakes(monkeypatch):
    """The command line over a pipeline that costs nothing. Yields what aligners were made."""
    pipe = FakePipe()
    FakeDyMO.made = []
    monkeypatch.setattr(job_command.models, "load_pipeline", lambda *_, **__: pipe)
    monkeypatch.setattr(job_command, "check_preview_vae", lambda *_, **__: None)
    monkeypatch.setattr(job_command, "check_model", lambda *_, **__: None)
    monkeypatch.setattr(job_command, "check_reward", lambda *_, **__: None)
    monkeypatch.setattr(dymo, "DyMO", FakeDyMO)
    monkeypatch.setattr(dymo, "load_reward", lambda name, **_: FakeReward(name))
    monkeypatch.setattr("dymo.report.plot.plot_trace", lambda trace: b"a plot")  # a second's work, which the real miniature's test has done
    return FakeDyMO.made


@pytest.fixture
def no_model(monkeypatch):
    """Loading any model is a mistake."""

    def loaded(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(job_command.models, "load_pipeline", loaded)
    monkeypatch.setattr(dymo, "load_miniature", loaded)
    monkeypatch.setattr(dymo, "load_reward", loaded)
    monkeypatch.setattr(dymo, "DyMO", loaded)


def refused_after_loading(result, *words):
    """The last line says why; the estimate stands before it."""
    assert result.exit_code == 2 and result.stdout == "", result.output
    refused_line(result.stderr.splitlines()[-1], *words)


def refused(result, *words):
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    refused_line(line, *words)


def refused_line(line, *words):
    assert line.startswith("Error: ")
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    "words, said",
    [
        ([""], "empty prompt"),
        ([PROMPT, "  "], "empty prompt '  '"),
        ([PROMPT, "--preset", "papr"], "unknown preset 'papr': choose one of 'default', 'paper'"),
        ([], "no prompt"),
        (["a", "red", "apple"], 'one prompt is one argument, in quotes: dymo generate "a red apple"; for several'),
        ([PROMPT, "green", "car"], f'dymo generate "{PROMPT} green car"'),
        (
            ["a pink dogg and a red car"],
            "'a pink dogg and a red car': the embedded miniature does not know 'pink', 'dogg'",
        ),
        (["a red apple", "--negative-prompt", "blurry"], "does not know 'blurry'"),
        ([PROMPT, "--file", "missing.txt"], "--file missing.txt: cannot be read"),
        ([PROMPT, "--config", "folder"], "--config folder belongs to a .safetensors checkpoint"),
        ([PROMPT, "--lora", "missing.safetensors"], "--lora missing.safetensors: there is no such file"),
        ([PROMPT, "--lora", "a.safetensors:much"], "--lora a.safetensors:much: 'much' is no strength; give FILE:0.8"),
        ([PROMPT, "--lora", "a.safetensors:nan"], "'nan' is no strength"),
        ([PROMPT, "--preview-vae", "./nowhere"], "--preview-vae ./nowhere: there is no such file or folder"),
        ([PROMPT, "--unet", "no-such"], "--unet no-such: there is no such file or folder"),
        ([PROMPT, "--seeds", "7-0"], "'7-0' must rise"),
        ([PROMPT, "--seeds", "a"], "give whole numbers and ranges, as 0-7"),
        ([PROMPT, "--seeds=-1"], "cannot read '-1'"),
        ([PROMPT, "--seeds", "0-99999999"], "more than 10000 seeds"),
        ([PROMPT, "--seeds", "1,,2"], "cannot read ''"),
        ([PROMPT, "--set", "etta=1"], "unknown setting 'etta'"),
        ([PROMPT, "--set", "eta"], "give key=value"),
        ([PROMPT, "--set", "k=-1"], "Error: --set k=-1: must be positive"),
        ([PROMPT, "--steps", "0"], "--steps 0"),
        ([PROMPT, "--reward", ""], "--reward is empty: give a value, or leave it out"),
        ([PROMPT, "--lora", ""], "--lora is empty"),
        ([PROMPT, "-m", ""], "--model is empty"),
        ([PROMPT, "--budget-seconds", "inf"], "--budget-seconds inf: must be above 0 and finite"),
        ([PROMPT, "--steps", "100000000"], "--steps 100000000: give 1000000 or fewer"),
        ([PROMPT, "--set", "views=1000000000"], "--set views=1000000000: must be at least 1 and at most 10000"),
        ([PROMPT, "--set", "scouts=1000000000"], "--set scouts=1000000000: must be at least 0 and at most 10000"),
        ([PROMPT, "--budget-seconds", "nan"], "--budget-seconds nan"),
        ([PROMPT, "--budget-evaluations", "-3"], "--budget-evaluations -3"),
        ([PROMPT, "--guidance-scale", "nan"], "--guidance-scale nan: must be a finite number"),
        ([PROMPT, "--pipeline-kwargs", '{"eta": Infinity}'], "Infinity is no number"),
        ([PROMPT, "--watch", "mini-hsp"], "--watch: unknown reward 'mini-hsp'"),
        ([PROMPT, "--height", "65"], "multiple of 8; the nearest is 64"),
        (
            [PROMPT, "--scheduler", "dpm"],
            "--scheduler 'dpm' (did you mean 'dpm2'?): choose one of ddim, ddpm, euler, euler a",
        ),
        ([PROMPT, "--dtype", "int8"], "--dtype 'int8': choose one of float32"),
        ([PROMPT, "--pipeline-kwargs", "{eta: 1}"], "not JSON"),
        ([PROMPT, "--pipeline-kwargs", "[1]"], "not an object; give a JSON object"),
        ([PROMPT, "--pipeline-kwargs", '{"height": 8}'], "--pipeline-kwargs: 'height' has an option of its own: --height"),
        ([PROMPT, "--pipeline-kwargs", '{"num_images_per_prompt": 2}'], "'num_images_per_prompt' is one here: give several --seeds"),
        ([PROMPT, "--set", "clamp=no"], "--set clamp='no': give True or False"),
        ([PROMPT, "--budget-evaluations", "10"], "--budget-evaluations 10 is less than the 25 steps of the trajectory, which is never cut"),
        ([PROMPT, "--reward", "judge"], "--reward judge measures only, so it cannot guide: watch it (--watch judge)"),
        (["a \udcff cat"], "its bytes are no UTF-8"),
        (["!!! ... ???"], "prompt '!!! ... ???' has no words"),
        ([PROMPT, "--graph", "missing.json"], "--graph missing.json: cannot be read"),
        ([PROMPT, "a red cat", "--graph", "missing.json"], "one prompt, but 2 are given"),
        ([PROMPT, "--parser", "gpt"], "--parser 'gpt': choose one of spacy, llm, transformers"),
        ([PROMPT, "--parser", "transformers"], "--parser transformers needs --parser-model"),
        ([PROMPT, "--parser-model", "m"], "--parser spacy asks no model: leave out --parser-model"),
        (
            [PROMPT, "--graph", "g.json", "--parser", "llm"],
            "--graph g.json says what the prompt means: leave out --parser",
        ),
        ([PROMPT, "--on-hacking", "best"], "--on-hacking best goes by held-out rewards: add --watch"),
        ([PROMPT, "--outdir", "/proc/dymo"], "cannot write in /proc"),
    ],
)
def test_bad_input_is_refused_before_the_model_is_loaded(no_model, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    refused(invoke("generate", *words), said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["generate", PROMPT], ["demo"]])
def test_a_full_disk_is_refused(no_model, tmp_path, monkeypatch, command):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(10**6))
    refused(invoke(*command, "--outdir", tmp_path / "out"), "1.0 MB free", "make room")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [["--prompts", "0"], ["--prompts", "100000"], ["--seed=-1"], ["--outdir", "/proc/dymo"]]
)
def test_the_demo_refuses_too(no_model, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    refused(invoke("demo", *words), words[0].partition("=")[0].removeprefix("--outdir"))
    assert list(tmp_path.iterdir()) == []


def test_a_graph_of_another_prompt(no_model, tmp_path):
    file = tmp_path / "graph.json"
    file.write_text(json.dumps({"prompt": "a cat", "entities": [{"text": "cat"}]}))
    refused(invoke("generate", PROMPT, "--graph", file, "--outdir", tmp_path / "out"), "it is for the prompt 'a cat'")
    file.write_text(json.dumps({"prompt": PROMPT, "entities": [{"text": "zebra"}]}))
    words = (f"--graph {file}: ", "'zebra' is not in the prompt")
    refused(invoke("generate", PROMPT, "--graph", file, "--outdir", tmp_path / "out"), *words)
    refused(invoke("graph", "--graph", file), *words)
    file.write_bytes(b"\xff\xfe")
    refused(invoke("generate", PROMPT, "--graph", file, "--outdir", tmp_path / "out"), "UTF-8")
    assert not (tmp_path / "out").exists()


def test_generate_writes_images_that_carry_their_parameters(fakes, tmp_path):
    result = invoke("generate", PROMPT, "--seeds", "0-1,5", "--compare", "--set", "recurrences=2", "--outdir", tmp_path)
    assert result.exit_code == 0, result.output
    stem = "a-red-apple-and-a-green-car"
    endings = (".png", "-unguided.png", "-trace.json", "-trace.png")
    expected = {f"{stem}-{seed:04d}{ending}" for seed in (0, 1, 5) for ending in endings} | {"sheet.png"}
    assert {path.name for path in tmp_path.iterdir()} == expected
    assert fakes == [("mini-pickscore", "fast", {"recurrences": 2})]
    parameters, data = read_png(tmp_path / f"{stem}-0005.png")
    assert (parameters.prompt, parameters.seed, parameters.steps, parameters.preset) == (PROMPT, 5, 25, "fast")
    assert (parameters.width, parameters.height, parameters.model) == (64, 64, "dymo-miniature")
    assert data["overrides"] == {"recurrences": 2} and data["reward"] == "mini-pickscore" and data["aligned"]
    plain, data = read_png(tmp_path / f"{stem}-0005-unguided.png")
    assert plain.preset is None and plain.seed == 5 and not data["aligned"]
    assert len(Trace.from_json((tmp_path / f"{stem}-0001-trace.json").read_text()).steps) == 2
    # The same seed gives the same with and without DyMO here, since the fake guides nothing.
    one, other = (Image.open(tmp_path / f"{stem}-0005{end}.png") for end in ("", "-unguided"))
    assert one.tobytes() == other.tobytes()
    # [C4] the unguided image against the aligned one, not the first against the last guided step
    red = one.getpixel((0, 0))[0] / 255
    assert f"reward {red:.3f} unguided, {red:.3f} aligned (+0.000) · 3 evaluations · 0.5 s" in result.stdout
    # Three times the 25 steps and the 13 above t = 500 of each of four seeds.
    assert "3 images, about 231 evaluations (NFE) each, and 25 for the unguided one" in result.stderr and "NFE" not in result.stdout
    assert result.stderr.count(" left for ") == 2


def test_c4_without_an_unguided_image_the_reward_s_course_is_called_that(fakes, tmp_path):
    result = invoke("generate", PROMPT, "--outdir", tmp_path)
    said = "reward of the prediction 0.000 → 0.100 (first to last guided step) · 3 evaluations · 0.5 s"
    assert said in result.stdout and "1 image, about 77 to 308 evaluations (NFE) each" in result.stderr


@pytest.mark.parametrize(
    "more, said",
    [(["--set", "scouts=0"], "1 image, 25 to 100 evaluations"), (["--budget-evaluations", "60"], "1 image, 25 to 60 evaluations"),
     (["--budget-seconds", "60"], "1 image, 25 to 100 evaluations"), (["--budget-evaluations", "90"], "1 image, about 77 to 90 evaluations")],
)  # fmt: skip
def test_the_estimate_counts_the_seeds_that_are_begun(fakes, tmp_path, more, said):
    assert said in invoke("generate", PROMPT, *more, "--outdir", tmp_path).stderr


def test_c2_nothing_is_overwritten_unasked(fakes, tmp_path):
    words = ("generate", PROMPT, "--compare", "--outdir", tmp_path)
    assert invoke(*words).exit_code == 0
    first = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert invoke(*words, "--preset", "thorough").exit_code == 0
    assert all(path.read_bytes() == content for path, content in first.items())
    stem = "a-red-apple-and-a-green-car-0000"
    new = {path.name for path in tmp_path.iterdir()} - {path.name for path in first}
    assert new == {f"{stem}-2{end}" for end in (".png", "-unguided.png", "-trace.json", "-trace.png")} | {"sheet-2.png"}
    assert read_png(tmp_path / f"{stem}-2.png")[0].preset == "thorough"
    assert invoke(*words, "--preset", "official-sd15", "--overwrite").exit_code == 0
    assert len(list(tmp_path.iterdir())) == 10 and read_png(tmp_path / f"{stem}.png")[0].preset == "official-sd15"


def test_prompts_of_a_file(fakes, tmp_path):
    (tmp_path / "prompts.txt").write_text("a red cat\n\na blue cat\n")
    result = invoke("generate", "--file", tmp_path / "prompts.txt", "--outdir", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").glob("*0000.png")} == {"a-red-cat-0000.png", "a-blue-cat-0000.png"}
    assert result.exit_code == 0


def test_c8_an_interrupt_keeps_what_is_finished(fakes, tmp_path, monkeypatch):
    class Interrupted(FakeDyMO):
        def __call__(self, *given, **more):
            if more["generator"].initial_seed() == 2:
                raise KeyboardInterrupt
            return super().__call__(*given, **more)

    monkeypatch.setattr(dymo, "DyMO", Interrupted)
    result = invoke("generate", PROMPT, "--seeds", "0-3", "--compare", "--outdir", tmp_path)
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == f"Interrupted: 2 of 4 images are written to {tmp_path}."
    assert len(list(tmp_path.glob("*-000?.png"))) == 2 and (tmp_path / "sheet.png").is_file()


def test_what_an_interrupt_breaks_is_an_interrupt(fakes, tmp_path, monkeypatch):
    """An import that Ctrl-C breaks off may raise anything, as a reward that cannot be loaded."""

    class Broken(FakeDyMO):
        def __call__(self, *given, **more):
            raise RewardError("Could not import module 'CLIPModel'")

    monkeypatch.setattr(dymo, "DyMO", Broken)
    assert invoke("generate", PROMPT, "--outdir", tmp_path).exit_code == 2
    monkeypatch.setattr(cli, "_ctrl_c", [2])
    result = invoke("generate", PROMPT, "--outdir", tmp_path)
    assert result.exit_code == 130 and result.stderr.splitlines()[-1] == "Interrupted."
    assert "CLIPModel" not in result.stderr


def test_ctrl_c_before_there_is_a_command_ends_the_process_quietly():
    script = "import os, signal, sys; sys.meta_path.insert(0, type('F', (), {'find_spec': staticmethod(lambda name, *_: "
    script += "os.kill(os.getpid(), signal.SIGINT) if name == 'typer' else None)})); from dymo.__main__ import main; main()"
    found = subprocess.run([sys.executable, "-c", script, "--version"], capture_output=True, text=True)
    assert found.returncode == -signal.SIGINT and not found.stderr and not found.stdout


def test_c8_logging_shows_what_is_done_on_the_standard_error(fakes, tmp_path):
    quiet = invoke("generate", PROMPT, "--outdir", tmp_path)
    assert "INFO" not in quiet.stderr
    for words in (["-v"], ["--log-level", "info"]):
        said = invoke("generate", PROMPT, "--outdir", tmp_path, *words)
        assert "INFO dymo.commands.outcome: written: a-red-apple" in said.stderr and "INFO" not in said.stdout
    assert invoke("generate", PROMPT, "--log-level", "loud").exit_code == 2


def test_no_reward_is_loaded_where_none_guides(fakes, tmp_path):
    assert invoke("generate", PROMPT, "--set", "preference_weight=0", "--outdir", tmp_path).exit_code == 0
    assert fakes == [(None, "fast", {"preference_weight": 0})]


def test_c1_the_window_of_the_text_encoder_in_the_words_of_the_option(fakes, tmp_path, monkeypatch):
    class Refusing(FakeDyMO):
        def __call__(self, *given, **more):
            raise PromptError("the prompt is too long. Shorten it, or ", Set(Setting("truncation", "report")), " to go on without")

    assert invoke("generate", PROMPT, "--truncation", "report", "--outdir", tmp_path).exit_code == 0
    assert fakes == [("mini-pickscore", "fast", {"truncation": "report"})]
    monkeypatch.setattr(dymo, "DyMO", Refusing)
    refused_after_loading(invoke("generate", PROMPT, "--outdir", tmp_path), "or add --truncation report to go on")


def test_a_warning_names_the_option_where_the_command_has_it(monkeypatch):
    def warns(*_):
        warnings.warn(RunWarning("or ", Setting("checkpointing", True)), stacklevel=1)

    monkeypatch.setattr("dymo.commands.bench.bench", warns)
    monkeypatch.setattr("dymo.commands.generate.generate", warns)
    assert CliRunner().invoke(app, ["bench"]).stderr == "Warning: or checkpointing=True\n"
    assert CliRunner().invoke(app, ["generate", "a cat"]).stderr == "Warning: or --set checkpointing=True\n"


def test_a_side_alone_is_completed_by_the_model_s_own(tmp_path):
    from PIL import Image

    result = invoke("generate", PROMPT, "--steps", "1", "--width", "64", "--outdir", tmp_path)
    assert result.exit_code == 0, result.output
    (path,) = (path for path in tmp_path.glob("*.png") if not path.stem.endswith("-trace"))
    with Image.open(path) as image:
        assert image.size == (64, 128)


def test_an_image_that_no_memory_holds_is_refused_before_it_is_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(total=10**9))
    monkeypatch.setattr(memory.psutil, "swap_memory", lambda: SimpleNamespace(total=10**9))
    found = invoke("generate", PROMPT, "--height", "1000000", "--device", "cpu", "--outdir", tmp_path / "out")
    refused(found, "--height 1000000: decoding 128 x 1000000 pixels takes 33 GB or more, and there are 2 GB (cpu); give less")
    assert not (tmp_path / "out").exists()


def test_held_out_rewards_are_watched(fakes, tmp_path):
    words = ("--watch", "mini-hps", "--watch", "mini-aesthetic", "--on-hacking", "best")
    assert invoke("generate", PROMPT, *words, "--outdir", tmp_path).exit_code == 0
    wanted = {"watch": ["mini-hps", "mini-aesthetic"], "on_hacking": "best"}
    assert fakes == [("mini-pickscore", "fast", wanted)]
    _, data = read_png(tmp_path / "a-red-apple-and-a-green-car-0000.png")
    assert {key: data[key] for key in wanted} == wanted


def test_what_the_held_out_rewards_said_is_printed_for_each_image(fakes, tmp_path, monkeypatch):
    class Watching(FakeDyMO):
        ends: ClassVar[list[str]] = ["unguided", "aligned", ""]

        def __call__(self, *given, **more):
            output = super().__call__(*given, **more)
            end = self.ends.pop(0)
            if end:
                output.trace.returned = [end]
                output.trace.ends = {"mini-hps": {"aligned": [-1.25], "unguided": [0.5]}}
            else:
                output.trace.hacked = {0: 1}
                for step, score in zip(output.trace.steps, (0.25, -2.0), strict=True):
                    step.watched = {"mini-hps": [score]}
            return output

    monkeypatch.setattr(dymo, "DyMO", Watching)
    words = ("--watch", "mini-hps", "--on-hacking", "best", "--seeds", "0-2")
    lines = invoke("generate", PROMPT, *words, "--outdir", tmp_path).stdout.splitlines()
    assert lines[1::2] == [
        "  returned the unguided image: mini-hps aligned -1.250, unguided 0.500",
        "  returned the aligned image: mini-hps aligned -1.250, unguided 0.500",
        "  held out, of the prediction: mini-hps 0.250 → -2.000 · reward hacking from step 2 on",
    ]
    assert all("0.5 s" in line for line in lines[::2])


def test_a_warning_is_its_text_alone(fakes, tmp_path, monkeypatch):
    class Running(FakeDyMO):
        def __call__(self, *given, **more):
            warnings.warn("the budget's seconds\n  are spent", RuntimeWarning, stacklevel=1)
            return super().__call__(*given, **more)

    monkeypatch.setattr(dymo, "DyMO", Running)
    result = invoke("generate", PROMPT, "--outdir", tmp_path)
    assert result.exit_code == 0 and "Warning: the budget's seconds are spent\n" in result.stderr


def test_another_parser_reads_the_prompts(fakes, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "dymo.prompt.load_parser", lambda name, **settings: asked.append((name, settings)) or dymo.parse
    )
    words = ("--parser", "llm", "--parser-model", "some-model", "--base-url", "http://localhost:1/v1")
    assert invoke("generate", PROMPT, *words, "--outdir", tmp_path).exit_code == 0
    assert asked == [("llm", {"model": "some-model", "base_url": "http://localhost:1/v1"})]
    assert fakes == [("mini-pickscore", "fast", {"parser": dymo.parse})]


def test_other_models_are_steered_by_pickscore(fakes, tmp_path):
    assert invoke("generate", PROMPT, "-m", "some/model", "--outdir", tmp_path).exit_code == 0
    assert fakes == [("pickscore", "fast", {})]
    parameters, _ = read_png(tmp_path / "a-red-apple-and-a-green-car-0000.png")
    assert parameters.model == "some/model" and parameters.steps == 50 and parameters.guidance_scale == 7.5


def test_what_the_pipeline_does_not_know(fakes, tmp_path):
    result = invoke("generate", PROMPT, "--pipeline-kwargs", '{"clip_skip": 1}', "--outdir", tmp_path / "out")
    refused_after_loading(result, "FakePipe refuses this", "'clip_skip'")
    assert not (tmp_path / "out").exists()


def test_unexpected_errors_keep_their_traceback(fakes, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise ValueError("a bug")

    monkeypatch.setattr(FakePipe, "__call__", broken)
    result = invoke("generate", PROMPT, "--outdir", tmp_path)
    assert isinstance(result.exception, ValueError) and result.exit_code == 1


def test_a_model_that_is_not_there(tmp_path):
    result = invoke("generate", PROMPT, "-m", tmp_path / "nothing", "--outdir", tmp_path / "out", "--device", "cpu")
    refused(result, f"--model {tmp_path / 'nothing'}: there is no such file or folder")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("device", ["cuda:77", "meta", "hpu", "xla", "0"])
def test_a_device_that_torch_cannot_compute_on(no_model, tmp_path, device):
    refused(invoke("generate", PROMPT, "--device", device, "--outdir", tmp_path / "out"), f"--device '{device}'", "choose one of cpu")


@pytest.mark.parametrize(
    "more, said",
    [(["--device", "cpu"], "--graphs needs CUDA, and the device is cpu"), (["--offload", "sequential"], "--offload sequential moves them")],
)  # fmt: skip
def test_graphs_where_they_cannot_be(no_model, tmp_path, more, said):
    refused(invoke("generate", PROMPT, "--graphs", *more, "--outdir", tmp_path / "out"), said)


def test_graph_as_tree_and_json():
    tree = invoke("graph", PROMPT)
    assert tree.exit_code == 0 and re.search(r"apple +6–11", tree.output) and re.search(r"green +18–23", tree.output)
    printed = invoke("graph", PROMPT, "--json").stdout
    assert dymo.SemanticGraph.from_json(printed) == dymo.parse(PROMPT)
    refused(invoke("graph", " "), "empty prompt")


@pytest.mark.parametrize("command", [[], ["demo"], ["generate"], ["graph"], ["score"], ["bench"], ["rewards", "check"]])
def test_help_has_examples(command):
    result = invoke(*command, "--help")
    assert result.exit_code == 0
    assert " ".join(["dymo", *(command or ["demo"])]) in result.output
    assert "runwayml" not in result.output  # [C3] it is gone from the hub


@pytest.mark.parametrize("command, is_reward_s", [("generate", False), ("studio", False), ("bench", False), ("score", True)])
def test_the_help_says_whose_precision_the_default_is(command, is_reward_s):
    said = " ".join(invoke(command, "--help").output.replace("│", " ").split())
    assert ("as the reward's file has it" in said) == is_reward_s and ("and bfloat16 for a transformer; else float32" in said) != is_reward_s


def test_c7_the_version():
    from importlib.metadata import version

    assert invoke("--version").stdout == f"dymo {version('dymo-diffusion')}\n"


def test_c2_the_words_of_the_miniature_are_listed():
    from dymo.miniature.world import VOCABULARY, captions

    said = invoke("demo", "--words").stdout
    assert all(word in said for words in VOCABULARY.values() for word in words)
    for caption in captions("test", 20):
        check_miniature_words(caption.text)


def test_help_loads_no_torch():
    code = "import sys, dymo.cli; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_library_loads_neither_diffusers_nor_a_compiler_before_they_are_needed():
    code = "import sys, dymo.aligner, dymo.pipelines.loop; sys.exit('torch._dynamo' in sys.modules or 'diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_option_is_refused_by_name():
    result = invoke("generate", PROMPT, "--sede", "3")
    assert result.exit_code == 2 and "--sede" in result.stderr


def test_seeds():
    assert read_seeds("0-3, 8,2") == [0, 1, 2, 3, 8]
    assert read_seeds("7") == [7]
    with pytest.raises(ConfigError):
        read_seeds(str(2**63))


def test_loras_with_and_without_strength(tmp_path):
    assert read_loras(["a.safetensors:0.8", "b.safetensors", "owner/name:-1", "owner/name/c.safetensors:2e-1"]) == [
        ("a.safetensors", 0.8), ("b.safetensors", 1.0), ("owner/name", -1.0), ("owner/name/c.safetensors", 0.2),
    ]  # fmt: skip
    drive = r"C:\loras\a.safetensors"
    assert read_loras([drive, f"{drive}:0.8", "D:/b.safetensors:-0.5"]) == [
        (drive, 1.0), (drive, 0.8), ("D:/b.safetensors", -0.5),
    ]  # fmt: skip
    (tmp_path / "odd:1").touch()
    assert read_loras([f"{tmp_path}/odd:1"]) == [(f"{tmp_path}/odd:1", 1.0)]


def test_settings_are_json_or_words():
    config, overrides = read_config("paper", ["eta=[0.1,0.2,0.3]", "gradient=conditional", "map-size=null", "k=2"])
    assert overrides == {"eta": (0.1, 0.2, 0.3), "gradient": "conditional", "map_size": None, "k": 2}
    assert config.eta == (0.1, 0.2, 0.3) and config.gradient == "conditional"
    assert read_config("fast", ["borders=(800, 400)"])[0].borders == (800.0, 400.0)
    with pytest.raises(ConfigError, match=r"borders='\(800, x\)': give 2 numbers"):
        read_config("fast", ["borders=(800, x)"])


def test_different_prompts_have_different_files():
    prompts = ["a cat", "a  cat", "A cat!", "苹果", "苹", "x" * 300, "x" * 301, "a/../../cat"]
    stems = file_stems(prompts)
    assert stems[0] == "a-cat" and len(set(stems)) == len(prompts)
    assert all(re.fullmatch(r"[a-z0-9-]{1,70}", stem) for stem in stems)


@pytest.mark.miniature
def test_generate_with_the_real_miniature(tmp_path):
    words = ("--steps", "3", "--preset", "fast", "--set", "recurrences=0", "--set", "scouts=0", "--compare", "--device", "cpu")
    result = invoke("generate", PROMPT, "--seeds", "4", *words, "--outdir", tmp_path)
    assert result.exit_code == 0, result.output
    stem = tmp_path / "a-red-apple-and-a-green-car-0004"
    parameters, data = read_png(f"{stem}.png")
    assert (parameters.steps, parameters.width, data["evaluations"]) == (3, 128, 3)
    trace = Trace.from_json((tmp_path / f"{stem.name}-trace.json").read_text())
    assert len(trace.steps) == 3 and trace.graphs[0]["prompt"] == PROMPT
    assert Image.open(tmp_path / f"{stem.name}-trace.png").width > 500
    aligned, unguided = (Image.open(f"{stem}{end}.png") for end in ("", "-unguided"))
    assert aligned.tobytes() != unguided.tobytes()


@pytest.mark.miniature
def test_more_steps_than_a_sampler_has_levels_and_arguments_that_are_options_are_told_as_such(tmp_path):
    result = invoke("generate", PROMPT, "--steps", "1001", "--compare", "--device", "cpu", "--outdir", tmp_path / "o")
    refused_after_loading(result, "--steps 1001: DDIMScheduler has 1000 noise levels, and no more steps; give 1000 or fewer")
    result = invoke("generate", PROMPT, "--pipeline-kwargs", '{"etta": 1}', "--device", "cpu", "--outdir", tmp_path / "o")
    refused_after_loading(result, "has no argument 'etta' (did you mean 'eta'?): it takes timesteps,", "clip_skip")
    assert "generator" not in result.output and "height" not in result.output and not (tmp_path / "o").exists()


@pytest.mark.miniature
def test_the_pipeline_refuses_an_impossible_call_in_one_line(tmp_path):
    words = ("--pipeline-kwargs", '{"callback_on_step_end_tensor_inputs": ["nothing"]}', "--device", "cpu")
    result = invoke("generate", PROMPT, *words, "--outdir", tmp_path / "o")
    refused_after_loading(result, "StableDiffusionPipeline refuses this")
    result = invoke("generate", PROMPT, "--steps", "1", "--pipeline-kwargs", '{"latents": [1]}', "--outdir", tmp_path / "o")
    refused_after_loading(result, "StableDiffusionPipeline cannot use a value of --pipeline-kwargs ('list' object has no attribute 'to')")
    assert not (tmp_path / "o").exists()


@pytest.mark.miniature
def test_the_demo_writes_its_report(tmp_path, monkeypatch):
    from dymo.commands import demo

    monkeypatch.setattr(demo, "MINIATURE_DEFAULTS", {**demo.MINIATURE_DEFAULTS, "num_inference_steps": 3})
    earlier = tmp_path / "demo"
    earlier.mkdir()
    (earlier / "report.html").write_text("an earlier report")
    result = invoke("demo", "--prompts", "2", "--outdir", earlier)
    assert result.exit_code == 0, result.output
    assert [path.name for path in earlier.iterdir()] == ["report.html"]
    folder = tmp_path / "demo-2"
    for name in ("overview.png", "sheet.png", "report.html", "report.md", "traces/batch-1.json"):
        assert (folder / name).is_file()
    assert "overview.png" in result.stdout and "report.html" in result.stdout
    assert max(map(len, result.stdout.splitlines()[:7])) <= 80
    assert len(list((folder / "images").iterdir())) == 4 and len(list((folder / "traces").iterdir())) == 3
    for word in ("unguided", "aligned", "mini-hps (held out)", "judge accuracy", "95 % interval", "(too few to tell)"):
        assert word in result.output
