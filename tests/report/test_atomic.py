"""Files are whole or not there."""

import os

import pytest

from dymo.errors import ConfigError
from dymo.report.atomic import write_bytes, write_text


def test_makes_the_folder_and_leaves_nothing_beside(tmp_path):
    path = write_text(tmp_path / "a" / "b" / "x.txt", "grün")
    assert path.read_text(encoding="utf-8") == "grün"
    assert os.listdir(path.parent) == ["x.txt"]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file_whole(tmp_path, monkeypatch, broken):
    path = write_bytes(tmp_path / "x.bin", b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, full)
    with pytest.raises(ConfigError, match=r"x\.bin: No space left on device; choose another folder"):
        write_bytes(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.bin"]


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "x.bin", b"new")
    assert os.listdir(tmp_path) == []


def test_is_as_readable_as_any_other_file(tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert write_bytes(tmp_path / "ours", b"").stat().st_mode == plain.stat().st_mode


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file"):
        write_bytes(tmp_path / "file" / "x", b"")
