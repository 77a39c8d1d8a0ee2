"""The store: an image is there whole or not at all; shared; a claim ends with its process."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dymo
from dymo.bench.store import Key, Store, StoreError, open_run
from dymo.errors import ConfigError

KEY = Key("c0ffee", "a red apple", 3)
OTHER = KEY._replace(prompt="a green car")


def test_a_record_comes_back_and_twice_written_is_there_once(tmp_path):
    store = Store(tmp_path)
    assert store.record(KEY) is None
    store.put(KEY, {"seconds": 1.0}, b"old")
    store.put(KEY, {"seconds": 1.5, "scores": {"m": 0.5}, "peak_mb": None}, b"\x00\x01")
    store.put(KEY, {**store.record(KEY), "scores": {"m": 0.25}})
    assert store.record(KEY) == {"seconds": 1.5, "scores": {"m": 0.25}, "peak_mb": None}
    assert store.image_path(KEY).read_bytes() == b"\x00\x01"
    assert list(Store(tmp_path).images("c0ffee")) == [(KEY, store.record(KEY), None)]
    keys = [KEY, OTHER, KEY._replace(seed=4), KEY._replace(configuration="d"), KEY._replace(prompt="a red apple!")]
    assert len({store.image_path(key) for key in keys}) == len(keys)


def test_an_image_whose_file_was_deleted_is_not_there(tmp_path):
    store = Store(tmp_path)
    store.put(KEY, {"seconds": 1.0}, b"\x00")
    store.image_path(KEY).unlink()
    assert store.record(KEY) is None


def test_a_failure_is_noted_until_the_image_is_there_and_does_not_lose_it(tmp_path):
    store = Store(tmp_path)
    store.fail(KEY, "out of memory")
    assert list(store.images("c0ffee")) == [(KEY, None, "out of memory")] and store.record(KEY) is None
    store.put(KEY, {"seconds": 1.0}, b"\x00")
    assert list(store.images("c0ffee")) == [(KEY, {"seconds": 1.0}, None)]
    store.fail(KEY, "the metric failed")
    assert list(store.images("c0ffee")) == [(KEY, {"seconds": 1.0}, "the metric failed")]


def test_a_full_disk_is_an_error_with_the_way_on_and_leaves_earlier_results_whole(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.put(KEY, {"seconds": 1.0}, b"\x00")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for key in (OTHER, KEY):
        with pytest.raises(StoreError, match=r"No space left.*run the same command again"):
            store.put(key, {"seconds": 2.0}, b"\x01")
    monkeypatch.undo()
    assert store.record(KEY) == {"seconds": 1.0} and store.record(OTHER) is None
    assert [p.name for p in (tmp_path / "images").rglob("*") if p.is_file()] == [store.image_path(KEY).name]


def test_a_table_that_is_none_is_named(tmp_path):
    (tmp_path / "results.sqlite").write_text("no database, but long enough to be read as one by its header " * 10)
    with pytest.raises(StoreError, match="not a database"):
        Store(tmp_path)


def test_a_claim_keeps_others_out_and_is_given_back(tmp_path):
    first, second = Store(tmp_path), Store(tmp_path)
    with first.claimed("a") as mine, second.claimed("b") as other:
        assert mine and other
        with second.claimed("a") as theirs:
            assert not theirs
    with second.claimed("a") as theirs:
        assert theirs
    assert not list((tmp_path / "claims").iterdir())


def test_the_claim_of_a_killed_process_is_free_at_once(tmp_path):
    script = (
        "import sys, time\nfrom dymo.bench.store import Store\n"
        "with Store(sys.argv[1]).claimed('a') as mine:\n    print(mine, flush=True)\n    time.sleep(600)"
    )
    store, command = Store(tmp_path), [sys.executable, "-c", script, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(dymo.__file__).parent.parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline().strip() == "True"
        with store.claimed("a") as mine:
            assert not mine
        process.kill()
        process.wait()
    with store.claimed("a") as mine:
        assert mine


def test_c5_a_folder_with_another_comparison_is_refused_unless_extended(tmp_path):
    run = tmp_path / "run"
    open_run(run, '{"rows": [1], "seeds": [0]}').put(KEY, {"seconds": 1.0}, b"\x00")
    assert open_run(run, '{"rows": [1], "seeds": [0]}').record(KEY)
    with pytest.raises(ConfigError, match=r"holds another comparison \(it differs in: rows\).*--extend"):
        open_run(run, '{"rows": [1, 2], "seeds": [0]}')
    assert (run / "plan.json").read_text() == '{"rows": [1], "seeds": [0]}'
    assert open_run(run, '{"rows": [1, 2], "seeds": [0]}', extend=True).record(KEY)
    assert (run / "plan.json").read_text() == '{"rows": [1, 2], "seeds": [0]}'
    open_run(tmp_path / "new", '{"rows": [1]}')
    open_run(tmp_path / "new", '{"rows": [2]}')
    assert (tmp_path / "new" / "plan.json").read_text() == '{"rows": [2]}', (
        "where nothing was generated, nothing is lost"
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "report.html").write_text("precious")
    with pytest.raises(ConfigError, match="holds other files"):
        open_run(tmp_path / "mine", "{}", extend=True)


@pytest.mark.parametrize("content", [b"{not json", b"\xff\xfe", b"[1, 2]", b'{"floor": "plan"}'])
@pytest.mark.parametrize("images", [False, True])
def test_a_plan_of_something_else_is_never_replaced(content, images, tmp_path):
    (tmp_path / "plan.json").write_bytes(content)
    if images:
        (tmp_path / "images").mkdir()
    for extend in (False, True):
        with pytest.raises(ConfigError, match=r"its plan.json is not one that dymo bench wrote; choose another folder"):
            open_run(tmp_path, '{"rows": [1]}', extend)
    assert (tmp_path / "plan.json").read_bytes() == content and not (tmp_path / "results.sqlite").exists()


def test_notes_are_of_the_whole_run(tmp_path):
    Store(tmp_path).note("command", "dymo bench")
    Store(tmp_path).note("command", "dymo bench --n 2")
    assert Store(tmp_path).noted("command") == "dymo bench --n 2" and Store(tmp_path).noted("other") is None
