"""The folder is tried before the work, and left as it was."""

import shutil
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest

from dymo.errors import ConfigError
from dymo.report.outdir import check_outdir

Usage = namedtuple("Usage", "total used free")


def test_a_good_folder_is_not_made_and_nothing_is_left(tmp_path):
    assert check_outdir(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert list(tmp_path.iterdir()) == []


def test_a_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_outdir("outputs/demo")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that nobody can write")
def test_a_read_only_folder():
    with pytest.raises(ConfigError, match=r"/proc/dymo: cannot write in /proc.*--outdir"):
        check_outdir("/proc/dymo")


def test_a_refused_write(tmp_path, monkeypatch):
    def refused(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    with pytest.raises(ConfigError, match=r"Permission denied.*make this one writable"):
        check_outdir(tmp_path)


def test_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(ConfigError, match=r"1\.0 MB free, 20 MB needed; make room"):
        check_outdir(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(ConfigError, match="is a file"):
            check_outdir(path)
