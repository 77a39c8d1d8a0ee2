"""The measurements on an accelerator, tried on small architectures and a CPU: that each runs, and that none ends the others."""

from __future__ import annotations

import pytest
import torch

from dymo.rewards.clip import CLIPReward
from tools import cost, gpu


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """The fewest steps of which some are timed."""
    monkeypatch.setattr(gpu, "STEPS", 4)
    monkeypatch.setattr(gpu, "EAGER_STEPS", 4)


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
    assert "SMALL ARCHITECTURES" in text and "| SD1.5" in text and "- yes" not in text


def test_a_family_is_built_only_where_it_is_measured(runs, monkeypatch):
    built = []
    monkeypatch.setattr(gpu, "stack", lambda family, *_: built.append(family))
    measured = [len(list(gpu.plan(runs.machine, "FLUX.1-dev", runs.one.reward, tier))) for tier in gpu.TIERS]
    assert measured == [0, 5, 0, 0] and built == ["FLUX.1-dev"]


def test_a_guided_evaluation_is_compared_with_the_pipeline_alone_as_a_graph(runs):
    lines = [gpu.Line("SD1.5", *line) for line in (
        (gpu.ALONE, "eager", 1, 5.0), (gpu.ALONE, "graphs", 1, 12.0), (gpu.ALONE, "graphs, channels last", 1, 10.0),
        (gpu.ALONE, "graphs, compiled", 1, 8.0), ("unguided", "graphs", 1, 9.0),
        ("semantic", "graphs, channels last", 1, 15.0), ("preference", "graphs", 1, 20.0), ("preference", "eager", 1, 9.0),
        ("preference", "graphs, compiled", 1, 18.0), ("an image: 50 steps, 300 evaluations each", "graphs", 1, 13_000.0),
    )]  # fmt: skip
    text = gpu.report(runs.machine, lines)
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    ratios = {(row[2], row[3]): row[6] for row in rows if len(row) > 6}
    assert ratios["preference", "graphs, compiled"] == "1.50" and ratios["semantic", "graphs, channels last"] == "1.50"
    assert ratios[gpu.ALONE, "graphs, compiled"] == "1.00"
    beside = "; with its blocks compiled too {:.2f}; of an unguided step of DyMO's run {:.2f}"
    alone = "of the pipeline alone (graphs, channels last)"
    assert f"- yes: SD1.5, semantic (graphs, channels last): 1.50 {alone}, at most 1.6{beside.format(15 / 8, 15 / 9)}" in text
    assert f"- NO: SD1.5, preference (graphs, compiled): 1.80 {alone}, at most 1.5{beside.format(18 / 8, 2)}" in text
    assert "- NO: SD1.5, an image: 50 steps, 300 evaluations each: 13.0 s; at most 12" in text


def test_the_pipeline_alone_is_timed_and_left_as_it_was(runs):
    unet = runs.one.denoiser
    for mode in ("eager", "graphs, channels last", "graphs, compiled"):
        line = runs.plain(gpu.ALONE, 2, mode)
        assert line.milliseconds > 0 and (line.what, line.mode, line.images) == (gpu.ALONE, mode, 2)
    assert not any("forward" in vars(m) for m in unet.modules())
    assert unet.conv_in.weight.is_contiguous()


def test_what_is_called_around_the_evaluations_that_are_timed(runs):
    """From the third to the last: as a profiler of them is."""
    calls = []
    handle = runs.one.denoiser.register_forward_pre_hook(lambda *_: calls.append("evaluation"))
    try:
        runs.evaluation(runs.aligner("semantic"), 1, 6, lambda: calls.append("begin"), lambda: calls.append("end"))
    finally:
        handle.remove()
    assert calls.index("end") - calls.index("begin") - 1 == 3


def test_an_image_of_several_seeds_counts_them_all(runs):
    one, four = runs.image(2, 0, 1), runs.image(2, 0, 1, seeds=4)
    assert one.what == "an image: 2 steps, 2 evaluations each" and one.milliseconds > 0
    assert four.what == "an image: 2 steps, one of 4 seeds, 6 evaluations each"


def test_each_way_of_running_has_its_backend(runs):
    modes = {
        "eager": False, "graphs": "graphs", "graphs, channels last": "graphs", "graphs, compiled, channels last": "graphs+inductor",
        "compiled": "eager",
    }  # fmt: skip
    assert {mode: runs.backend(mode) for mode in modes} == modes


def test_what_somebody_wrote_above_the_lines_is_kept(tmp_path):
    page = tmp_path / "gpu.md"
    arguments = ["--tiny", "--device", "cpu", "--minutes", "0", "--out", str(page)]
    assert gpu.main(arguments) == 0
    first = page.read_text()
    assert first.startswith("# On a GPU\n\n") and first.count(gpu.MEASURED) == 1
    page.write_text("# By hand\n\nTold.\n\n" + first[first.index(gpu.MEASURED) :])
    assert gpu.main(arguments) == 0
    assert page.read_text().startswith("# By hand\n\nTold.\n\n" + gpu.MEASURED) and page.read_text().count("| family") == 1


def test_when_the_minutes_are_spent_every_line_says_so():
    lines = gpu.measure(gpu.Machine(torch.device("cpu"), 0, tiny=True), ["SD1.5"], lambda line: None)
    assert [line.what for line in lines] == [f"what is left of it, {tier} of 4" for tier in (1, 2, 3, 4)]
    assert {line.note for line in lines} == {"skipped: the 0 minutes are spent"}


def test_without_an_accelerator_one_line_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path / "gpu.md")]) == 0
    assert capsys.readouterr().out.splitlines() == ["There is no accelerator here, so nothing was measured (--tiny --device cpu tries the program)."]
    assert not (tmp_path / "gpu.md").exists()
