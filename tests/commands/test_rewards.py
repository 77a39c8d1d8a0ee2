"""`dymo rewards`: the list, and the check with its skips, its golden values and its failures."""

from __future__ import annotations

import io
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console
from tiny_rewards import clip, clip_folder
from typer.testing import CliRunner

from dymo import ConfigError, plugins
from dymo.cli import app
from dymo.commands import rewards as command
from dymo.rewards import SPECS, BlackBoxReward, load_reward
from dymo.rewards import golden as golden_values


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200", "NO_COLOR": "1"})


@pytest.fixture
def model(tmp_path):
    return clip_folder(tmp_path / "clip", clip())


def test_the_list_says_all_of_each():
    result = invoke("rewards", "list")
    assert result.exit_code == 0
    for name, spec in SPECS.items():
        (line,) = [line for line in result.output.splitlines() if line.split() and line.split()[0] == name]
        for said in (spec.measures, spec.licence, f"{spec.millions:.1f}", spec.guides, f"{spec.typical[0]:g} to"):
            assert said in line


def check(*words, images=None):
    """Whether `dymo rewards check` succeeds, and what it prints."""
    console = Console(file=io.StringIO(), width=300)
    return command.check(*words, images, "cpu", None, console), console.file.getvalue()


def test_a_check_without_the_image_says_why_it_was_skipped(model, tmp_path):
    holds, said = check("hpsv2", str(model))
    assert holds and "demo_image.jpg" in said and "skipped" in said and "give --images FOLDER" in said
    assert f"it is not in {tmp_path}" in check("hpsv2", str(model), images=tmp_path)[1]
    assert "none is known for this reward" in check("hpsv2.1", str(model))[1]
    with pytest.raises(ConfigError, match="--images /nowhere: no such folder"):
        check("hpsv2", str(model), images=Path("/nowhere"))


def test_a_published_score_is_compared(model, tmp_path, monkeypatch):
    Image.new("RGB", (50, 40), "orange").save(tmp_path / "demo_image.jpg")
    one = next(golden for golden in golden_values.GOLDEN if golden.reward == "hpsv2")
    assert (one.score, one.image) == (0.2876, "demo_image.jpg")
    holds, said = check("hpsv2", str(model), images=tmp_path)  # random weights: another score
    assert not holds and "NO" in said and "published 0.2876" in said
    made = load_reward("hpsv2", source=model).score(command.read_image(tmp_path / "demo_image.jpg")[None], [one.prompt])
    monkeypatch.setattr(golden_values, "GOLDEN", (one._replace(score=made.item()),))
    assert check("hpsv2", str(model), images=tmp_path)[0]


def test_c6_an_own_reward_is_checked_and_a_broken_package_does_not_hinder_the_list(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("def warmth(images, prompts):\n    return images[:, 0].mean((1, 2))\n")
    assert check(f"{tmp_path / 'mine.py'}:warmth", None)[0]
    monkeypatch.setattr(plugins, "entry_points", lambda **_: [EntryPoint("broken", "no_such_module:x", "dymo.rewards")])
    lines = {line.split()[0]: line for line in command.listing().to_text().splitlines() if line.strip()}
    assert "No module named 'no_such_module'" in lines["broken"] and "Pick-a-Pic" in lines["pickscore"]


def test_what_does_not_hold_is_found():
    def findings(f):
        return {finding.what: finding.result for finding in command.try_out(load_reward(f), "cpu")}

    sound = findings(lambda images, prompts: images.mean((1, 2, 3)))
    assert set(sound.values()) == {"yes"}
    infinite = findings(lambda images, prompts: images.mean((1, 2, 3)) / 0)
    assert infinite["scores are finite"] == "NO"
    leaky = findings(lambda images, prompts: images.mean((1, 2, 3)) + images.mean())
    assert leaky["a batch scores as its images one by one"] == "NO"
    flat = findings(lambda images, prompts: (images * 0).mean((1, 2, 3)) + 1)
    assert flat["there is a gradient to the image"] == "NO"
    box = findings(BlackBoxReward(lambda images, prompts: [1.0] * len(images)))
    assert box["there is a gradient to the image"] == "skipped"


def test_the_supplied_images():
    circle, noise = command.supplied()
    assert circle.shape == noise.shape == (3, 256, 256) and circle.max() <= 1 and circle.min() >= 0
    assert circle[:, 128, 128].tolist() == pytest.approx([0.85, 0.1, 0.1]) and circle[:, 0, 0].eq(1).all()
    assert torch.equal(noise, command.supplied()[1])


@pytest.mark.miniature
def test_the_miniature_s_own_pass(tmp_path):
    for name, yes in (("mini-pickscore", 3), ("mini-hps", 3), ("judge", 2)):
        holds, said = check(name, None)
        assert holds and said.count("yes") == yes, said


def test_a_folder_of_something_else_is_answered_with_the_option(tmp_path):
    for words in ([tmp_path], ["pickscore", "--source", tmp_path]):
        said = " ".join(invoke("rewards", "check", *words, "--device", "cpu").stderr.split())
        assert "a hub id, with --source PATH" in said and "source=" not in said


@pytest.mark.parametrize(
    "words, said",
    [
        (["nothing"], "unknown reward 'nothing': choose 'pickscore'"),
        (["pickscore", "--dtype", "int8"], "--dtype 'int8'"),
        (
            ["pickscore", "--source", "nobody/nothing", "--device", "cpu"],
            "--source nobody/nothing: neither a folder here",
        ),
        (
            ["pickscore"],
            "the reward pickscore: yuvalkirstain/PickScore_v1: neither a folder here nor downloaded before",
        ),
    ],
)
def test_bad_input(words, said):
    result = invoke("rewards", "check", *words)
    assert result.exit_code == 2 and said in " ".join(result.stderr.split())
