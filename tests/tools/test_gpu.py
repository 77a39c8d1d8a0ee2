"""The measurements on an accelerator, tried on small architectures and a CPU: that each runs, and that none ends the others."""

from __future__ import annotations

import pytest
import torch

from dymo.rewards.clip import CLIPReward
from tools import cost, gpu


@pytest.fixture(scope="module")
def runs() -> gpu.Runs:
    machine = gpu.Machine(torch.device("cpu"), 8, tiny=True)
    machine.calibrate()
    reward = CLIPReward(machine.make(gpu._small_clip, torch.half), cost._tokenizer(), "small")
    return gpu.Runs(machine, gpu.stack("SD1.5", machine, reward), "SD1.5")


def test_an_evaluation_is_timed_and_counted(runs):
    for line in (runs.plain("semantic", 2), runs.reference("preference")):
        assert line.milliseconds > 0 and line.kernels > 100 and line.share > 0 and not line.note
    assert runs.plain("unguided", 1, "channels last").milliseconds > 0
    text = gpu.report(runs.machine, [runs.plain("unguided", 1), line])
    assert "SMALL ARCHITECTURES" in text and "| SD1.5" in text


def test_what_a_graph_would_hold_is_the_evaluation_of_the_run(runs):
    """A gradient to the latents of the prompt's row alone; the straight-through one to the prediction."""
    processors = dict(runs.one.denoiser.attn_processors)
    assert runs._evaluation("unguided")()[0].shape == (2, 4, 8, 8)
    (prediction,) = runs._evaluation("preference")()
    assert prediction.shape == (1, 4, 8, 8) and prediction.abs().max() > 0
    (latents,) = runs._evaluation("semantic")()
    assert not latents[:1].any() and latents[1:].abs().max() > 0
    runs.one.denoiser.set_attn_processor(processors)


def test_when_the_minutes_are_spent_every_line_says_so():
    lines = gpu.measure(gpu.Machine(torch.device("cpu"), 0, tiny=True), ["SD1.5"], lambda line: None)
    assert [line.note for line in lines] == ["skipped: the 0 minutes are spent"]


def test_without_an_accelerator_one_line_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path / "gpu.md")]) == 0
    assert capsys.readouterr().out.splitlines() == ["There is no accelerator here, so nothing was measured (--tiny --device cpu tries the program)."]
    assert not (tmp_path / "gpu.md").exists()
