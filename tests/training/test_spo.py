"""SPO's recipe runs: a step of its training on the miniature, to the file that `--lora` reads."""

from safetensors.torch import load_file

from training import spo


def test_a_step_moves_the_lora(tmp_path, monkeypatch):
    monkeypatch.setattr(spo, "STEPS", 3)
    for steps in ("0", "1"):
        folder = tmp_path / steps
        monkeypatch.setattr("sys.argv", ["spo", "--steps", steps, "--batch", "1", "--cache", str(folder), "--out", str(folder)])
        spo.main()
    before, after = (load_file(tmp_path / steps / "spo.safetensors") for steps in ("0", "1"))
    assert before.keys() == after.keys()
    assert all(value.isfinite().all() for value in after.values())
    assert any(not before[name].equal(after[name]) for name in before)
