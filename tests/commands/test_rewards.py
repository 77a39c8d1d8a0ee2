"""`dymo rewards`: the list, and the check with its skips, its golden values and its failures."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from tiny_rewards import clip, clip_folder
from typer.testing import CliRunner

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


def test_a_check_without_the_picture_says_why_it_was_skipped(model, tmp_path):
    result = invoke("rewards", "check", "hpsv2", "--source", model, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert (
        "demo_image.jpg" in result.output and "skipped" in result.output and "give --pictures FOLDER" in result.output
    )
    result = invoke("rewards", "check", "hpsv2", "--source", model, "--device", "cpu", "--pictures", tmp_path)
    assert f"it is not in {tmp_path}" in result.output
    result = invoke("rewards", "check", "hpsv2.1", "--source", model, "--device", "cpu")
    assert "none is known for this reward" in result.output


def test_a_published_score_is_compared(model, tmp_path, monkeypatch):
    Image.new("RGB", (50, 40), "orange").save(tmp_path / "demo_image.jpg")
    one = next(golden for golden in golden_values.GOLDEN if golden.reward == "hpsv2")
    assert (one.score, one.picture) == (0.2876, "demo_image.jpg")
    words = ("rewards", "check", "hpsv2", "--source", model, "--device", "cpu", "--pictures", tmp_path)
    result = invoke(*words)  # random weights: another score
    assert result.exit_code == 1 and "NO" in result.output and "published 0.2876" in result.output
    made = load_reward("hpsv2", source=model).score(
        command.read_picture(tmp_path / "demo_image.jpg")[None], [one.prompt]
    )
    import dataclasses

    monkeypatch.setattr(golden_values, "GOLDEN", (dataclasses.replace(one, score=made.item()),))
    assert invoke(*words).exit_code == 0


def test_what_does_not_hold_is_found():
    def findings(f):
        return {finding.what: finding.result for finding in command.try_out(load_reward(f), "cpu")}

    sound = findings(lambda images, prompts: images.mean((1, 2, 3)))
    assert set(sound.values()) == {"yes"}
    infinite = findings(lambda images, prompts: images.mean((1, 2, 3)) / 0)
    assert infinite["scores are finite"] == "NO"
    leaky = findings(lambda images, prompts: images.mean((1, 2, 3)) + images.mean())
    assert leaky["a batch scores as its pictures one by one"] == "NO"
    flat = findings(lambda images, prompts: (images * 0).mean((1, 2, 3)) + 1)
    assert flat["there is a gradient to the picture"] == "NO"
    box = findings(BlackBoxReward(lambda pictures, prompts: [1.0] * len(pictures)))
    assert box["there is a gradient to the picture"] == "skipped"


def test_the_supplied_pictures():
    circle, noise = command.supplied()
    assert circle.shape == noise.shape == (3, 256, 256) and circle.max() <= 1 and circle.min() >= 0
    assert circle[:, 128, 128].tolist() == pytest.approx([0.85, 0.1, 0.1]) and circle[:, 0, 0].eq(1).all()
    assert torch.equal(noise, command.supplied()[1])


@pytest.mark.miniature
def test_the_miniature_s_own_pass(tmp_path):
    for name in ("mini-pickscore", "mini-hps"):
        result = invoke("rewards", "check", name, "--device", "cpu")
        assert result.exit_code == 0 and result.output.count("yes") == 3, result.output


@pytest.mark.parametrize(
    "words, said",
    [
        (["nothing"], "'nothing': choose from pickscore"),
        (["pickscore", "--pictures", "/nowhere"], "--pictures /nowhere: no such folder"),
        (["pickscore", "--dtype", "int8"], "--dtype 'int8'"),
        (["pickscore", "--source", "nobody/nothing", "--device", "cpu"], "cannot load a CLIPModel"),
    ],
)
def test_bad_input(words, said):
    result = invoke("rewards", "check", *words)
    assert result.exit_code == 2 and said in " ".join(result.stderr.split())
