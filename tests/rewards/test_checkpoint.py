"""Weights come from a file whole, or the error says which names differ; no code is run."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dymo import RewardError
from dymo.rewards.checkpoint import find_file, fitting, hollow, put, read_weights, shapes, told

LAYOUT = {"model.a": (2, 3), "model.b": (4,)}


def state(**changes):
    found = {"model.a": torch.ones(2, 3), "model.b": torch.zeros(4), "model.position_ids": torch.arange(5)}
    return {**found, **{key.replace("__", "."): value for key, value in changes.items()}}


def test_what_is_computed_is_dropped_and_the_rest_is_kept():
    assert set(fitting(LAYOUT, state(), "x")) == {"model.a", "model.b"}
    assert set(fitting(LAYOUT, state(extra__proj=torch.ones(1)), "x", optional=("extra.",))) == set(LAYOUT)


def test_every_kind_of_difference_is_named():
    found = state(model__b=torch.zeros(4, 1), model__c=torch.ones(1))
    del found["model.a"]
    with pytest.raises(RewardError) as raised:
        fitting(LAYOUT, found, "some-reward")
    said = str(raised.value)
    assert said.startswith("some-reward: the weights do not fit")
    assert "1 missing: model.a" in said
    assert "1 unexpected: model.c" in said
    assert "1 of another shape: model.b (4, 1), expected (4,)" in said


def test_a_prefix_that_lacks_or_is_too_much_is_told():
    bare = {key.removeprefix("model."): value for key, value in state().items()}
    with pytest.raises(
        RewardError, match=r"2 missing: model.a, model.b; 2 unexpected: a, b \(the file lacks the prefix 'model.'\)"
    ):
        fitting(LAYOUT, bare, "x")
    doubled = {f"module.{key}": value for key, value in state().items()}
    with pytest.raises(RewardError, match="the file has the prefix 'module.'"):
        fitting(LAYOUT, doubled, "x")


def test_a_long_list_is_cut():
    many = told([f"w{i}" for i in range(40)], [], [])
    assert "40 missing" in many and "and 34 more" in many


def test_a_table_of_tensors_is_read_and_nothing_else(tmp_path):
    tensors = {"w": torch.arange(3.0)}
    save_file(tensors, tmp_path / "w.safetensors")
    torch.save(tensors, tmp_path / "w.pt")
    torch.save({"epoch": 3, "state_dict": tensors}, tmp_path / "nested.pt")
    for name, under in (("w.safetensors", None), ("w.pt", "state_dict"), ("nested.pt", "state_dict")):
        assert read_weights(tmp_path / name, under)["w"].tolist() == [0, 1, 2]
    with pytest.raises(RewardError, match="flat table"):
        read_weights(tmp_path / "nested.pt")
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    with pytest.raises(RewardError, match="cannot read weights"):
        read_weights(tmp_path / "broken.safetensors")


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "proof"), "w"))

    with (tmp_path / "evil.pt").open("wb") as file:
        pickle.dump({"w": Evil()}, file)
    torch.save({"w": Evil()}, tmp_path / "evil2.pt")
    for name in ("evil.pt", "evil2.pt"):
        with pytest.raises(RewardError, match="cannot read weights") as told:
            read_weights(tmp_path / name)
        assert not {"weights_only", "trust"} & set(str(told.value).replace("`", " ").split())
    assert f"it holds {open.__module__}.open beside tensors" in str(told.value)
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"no", b"hello world", b"<!DOCTYPE html>", b"PK\x03\x04"])
def test_r2_a_damaged_file_is_refused_in_a_line(tmp_path, content, ending):
    path = tmp_path / f"w.{ending}"
    path.write_bytes(content)
    with pytest.raises(RewardError, match=r"cannot read weights from .*: \w.*; only safetensors") as told:
        read_weights(path)
    assert "\n" not in str(told.value) and "weights_only" not in str(told.value)
    assert ("the file is empty" in str(told.value)) == (content == b"")


def test_r2_keys_that_are_no_names(tmp_path):
    torch.save({0: torch.ones(1)}, tmp_path / "w.pt")
    with pytest.raises(RewardError, match="flat table of named tensors"):
        read_weights(tmp_path / "w.pt")


def test_files_are_found_and_safetensors_go_first(tmp_path):
    (tmp_path / "w.pt").touch()
    assert find_file(tmp_path, "w.pt", "x") == find_file(tmp_path / "w.pt", "other.pt", "x") == tmp_path / "w.pt"
    (tmp_path / "w.safetensors").touch()
    assert find_file(tmp_path, "w.pt", "x") == tmp_path / "w.safetensors"
    with pytest.raises(RewardError, match=r"x: no v.pt in the folder .*w.pt"):
        find_file(tmp_path, "v.pt", "x")
    with pytest.raises(RewardError, match="x: cannot fetch w.pt of 'nobody/nothing'"):
        find_file("nobody/nothing", "w.pt", "x")


def test_parameters_take_the_precision_asked_for_or_the_file_s_and_are_frozen():
    made = nn.Linear(3, 2)
    weights = {"weight": torch.ones(2, 3).half(), "bias": torch.ones(2)}
    for asked, got in ((None, torch.half), (torch.float64, torch.float64)):
        module = put(hollow(lambda: nn.Linear(3, 2)), weights, asked)
        assert {p.dtype for p in module.parameters()} == {got}
        assert not any(p.requires_grad for p in module.parameters()) and not module.training
    assert shapes(made.state_dict()) == {"weight": (2, 3), "bias": (2,)}
