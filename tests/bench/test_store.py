"""The store: whole or not there, shared, and no worse for kill -9, a full disk, or a claim whose owner is dead."""

import errno
import json
import os
import time

import pytest

from dymo.bench.store import Key, Store, StoreError, _born

KEY = Key("c0ffee", "a red apple", 3)


def test_a_row_comes_back_with_its_key_and_twice_written_is_there_once(tmp_path):
    store = Store(tmp_path)
    assert store.get(KEY) is None and not store.has(KEY)
    store.put(KEY, {"png": b"\x00\x01", "seconds": 1.5, "peak_bytes": None})
    store.put(KEY, {"png": b"\x00\x01", "seconds": 1.5, "peak_bytes": None})
    store.put(KEY, {"score": 0.5}, "some/metric")
    assert store.get(KEY) == {
        "configuration": "c0ffee", "prompt": "a red apple", "seed": 3, "png": b"\x00\x01", "seconds": 1.5, "peak_bytes": None,
    }  # fmt: skip
    assert store.get(KEY, "some/metric")["score"] == 0.5 and not store.has(KEY, "another")
    assert len(list(tmp_path.rglob("*.parquet"))) == 2
    assert len({Key(*k).name for k in [("a", "b", 1), ("a", "b", 2), ("a", "c", 1), ("b", "b", 1)]}) == 4


def test_a_shard_that_cannot_be_read_is_set_aside_and_painted_again(tmp_path):
    store = Store(tmp_path)
    store.put(KEY, {"seconds": 1.0})
    (path,) = tmp_path.rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    assert store.get(KEY) is None and not store.has(KEY)
    assert list(tmp_path.rglob("*.corrupt"))


def test_a_failure_is_noted_until_the_picture_is_there(tmp_path):
    store = Store(tmp_path)
    store.fail(KEY, "out of memory")
    assert store.failure(KEY) == "out of memory"
    store.put(KEY, {"seconds": 1.0})
    assert store.failure(KEY) is None


def test_a_full_disk_is_an_error_with_the_way_on_and_leaves_earlier_results_whole(tmp_path, monkeypatch):
    store, other = Store(tmp_path), Key("c0ffee", "a green car", 3)
    store.put(KEY, {"seconds": 1.0})
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.parquet")}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for key in (other, KEY):
        with pytest.raises(StoreError, match=r"No space left.*run the same command again"):
            store.put(key, {"seconds": 2.0})
    monkeypatch.undo()
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert store.get(KEY)["seconds"] == 1.0 and store.get(other) is None


def test_a_claim_keeps_others_out_and_is_given_back(tmp_path):
    first, second = Store(tmp_path), Store(tmp_path)
    with first.claimed(KEY) as mine:
        assert mine
        with second.claimed(KEY) as theirs:
            assert not theirs
    with second.claimed(KEY) as theirs:
        assert theirs
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def claim_of(tmp_path, **changes):
    path = tmp_path / "claims" / f"{KEY.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({"token": "t", "host": Store(tmp_path).host, "pid": os.getpid(), "born": "1", **changes})
    )
    return path


def test_a_claim_is_taken_over_where_its_process_is_gone_or_another_has_its_number(tmp_path):
    process = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(process, 0)
    for gone in ({"pid": process}, {"pid": os.getpid(), "born": "long ago"}):
        claim_of(tmp_path, **gone)
        with Store(tmp_path).claimed(KEY) as mine:
            assert mine


def test_the_claim_of_a_process_killed_behind_its_last_write_is_swept_away(tmp_path):
    living = claim_of(tmp_path, born=_born(os.getpid()))
    dead = living.with_name("other.json")
    dead.write_text(living.read_text().replace(str(_born(os.getpid())), "long ago"))
    Store(tmp_path).sweep()
    assert living.is_file() and not dead.exists()


def test_another_machines_claim_is_taken_over_once_it_is_stale(tmp_path):
    path = claim_of(tmp_path, host="elsewhere", pid=1)
    with Store(tmp_path, stale=60).claimed(KEY) as mine:
        assert not mine
    os.utime(path, (time.time() - 100,) * 2)
    with Store(tmp_path, stale=60).claimed(KEY) as mine:
        assert mine


def test_a_claim_is_kept_fresh_while_it_is_worked_on(tmp_path):
    store = Store(tmp_path, stale=0.2)
    with store.claimed(KEY):
        path = tmp_path / "claims" / f"{KEY.name}.json"
        os.utime(path, (0, 0))
        deadline = time.time() + 10
        while path.stat().st_mtime == 0 and time.time() < deadline:
            time.sleep(0.02)
        assert path.stat().st_mtime > 0


def test_burying_a_claim_that_was_made_anew_puts_it_back(tmp_path):
    path = claim_of(tmp_path, token="fresh")
    Store(tmp_path)._bury(path, dead="old")
    assert json.loads(path.read_text())["token"] == "fresh"
