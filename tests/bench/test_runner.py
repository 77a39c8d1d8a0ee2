"""Working a plan off: killed, shared, resumed. The worker here is quick; the store and the runner are the real ones."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dymo.bench.plan import Match, Plan, Row
from dymo.bench.runner import Progress, jobs_of, work
from dymo.bench.store import Key, Store, StoreError
from dymo.errors import PipelineError

PLAN = Plan(
    rows=(Row("best", "best-of-n", match=Match("ours")), Row("plain"), Row("ours", "dymo", {"preset": "fast"})),
    prompts=("a red apple", "a green car", "a blue hat"), seeds=(0, 1), metrics=("m",),
)  # fmt: skip


class Worker:
    """Writes what it is told to paint, and a line for each, after `pause` seconds."""

    def __init__(self, store, pause=0.0, log=None):
        self.store, self.pause, self.log, self.painted = store, pause, log, []

    def paint(self, row, keys):
        time.sleep(self.pause)
        for key in keys:
            self.store.put(key, {"row": row.name, "seconds": 0.1})
            self.painted.append((row.name, key))
            if self.log is not None:
                with open(self.log, "a") as file:
                    file.write(f"{key.name}\n")

    def measure(self, keys):
        for key in keys:
            if not self.store.has(key, "m"):
                self.store.put(key, {"score": 1.0}, "m")


def is_whole(plan, store):
    keys = [key for job in jobs_of(plan) for key in job.keys]
    assert all(store.get(key)["prompt"] == key.prompt and store.get(key, "m")["score"] == 1.0 for key in keys)
    shards = [
        p for p in store.folder.rglob("*") if p.is_file() and "claims" not in p.parts and not p.name.startswith(".")
    ]
    assert len(shards) == 2 * len(set(keys)), "a picture and a score each, and nothing else"
    return True


def test_every_picture_once_and_what_sets_a_budget_before_what_has_it(tmp_path):
    store = Store(tmp_path)
    worker = Worker(store)
    progress = work(PLAN, store, worker)
    assert (progress.total, progress.done, progress.failed, progress.painted) == (18, 18, 0, 18)
    order = [(name, key.prompt, key.seed) for name, key in worker.painted]
    for prompt in PLAN.prompts:
        for seed in PLAN.seeds:
            assert order.index(("ours", prompt, seed)) < order.index(("best", prompt, seed))
    assert is_whole(PLAN, store)
    again = Worker(store)
    assert work(PLAN, store, again).painted == 0 and not again.painted


def test_equal_settings_are_one_picture_whatever_the_rows_are_called(tmp_path):
    twice = Plan(rows=(Row("a"), Row("b")), prompts=("x",), metrics=("m",))
    store = Store(tmp_path)
    assert work(twice, store, Worker(store)).painted == 1
    other = Plan(rows=(Row("a"),), prompts=("x",), metrics=("m",), call={"num_inference_steps": 5})
    assert work(other, store, Worker(store)).painted == 1


@pytest.mark.parametrize("batch", [1, 2])
def test_a_picture_that_fails_is_noted_the_rest_goes_on_and_the_next_run_tries_it_again(tmp_path, batch):
    plan, store = replace(PLAN, batch=batch), Store(tmp_path)

    class Fails(Worker):
        def paint(self, row, keys):
            if row.name == "ours" and "a green car" in [key.prompt for key in keys]:
                raise PipelineError("does not fit")
            super().paint(row, keys)

    progress = work(plan, store, Fails(store))
    assert progress.failed == 4 and progress.painted == 14  # ours and the row that needs it, two seeds each
    assert store.failure(Key(plan.hash_of(plan.row("ours")), "a green car", 0)) == "PipelineError: does not fit"
    assert work(plan, store, Worker(store)).painted == 4
    assert is_whole(plan, store)


def test_prompts_are_painted_in_batches_of_one_row_and_seed(tmp_path):
    plan, store = replace(PLAN, batch=2), Store(tmp_path)
    batches = []

    class Notes(Worker):
        def paint(self, row, keys):
            assert len({(key.configuration, key.seed) for key in keys}) == 1
            batches.append(len(keys))
            super().paint(row, keys)

    progress = work(plan, store, Notes(store))
    assert sorted(batches) == [1] * 6 + [2] * 6 and (progress.painted, progress.done) == (18, 18)
    assert is_whole(plan, store)
    # What is left of a batch that was cut off is painted by itself.
    lost = next(job for job in jobs_of(plan) if len(job.keys) == 2).keys[1]
    store._path(lost, None).unlink()
    batches.clear()
    assert work(plan, store, Notes(store)).painted == 1 and batches == [1]


def test_what_another_process_painted_and_did_not_live_to_measure_is_measured(tmp_path, monkeypatch):
    plan, store = Plan(rows=(Row("a"),), prompts=("x",), metrics=("m",)), Store(tmp_path)
    claimed = store.claimed

    @contextmanager
    def as_it_came_free(key):
        with claimed(key) as mine:
            store.put(key, {"row": "a", "seconds": 0.1})
            yield mine

    monkeypatch.setattr(store, "claimed", as_it_came_free)
    worker = Worker(store)
    work(plan, store, worker)
    assert not worker.painted and is_whole(plan, store)


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(tmp_path, monkeypatch):
    store = Store(tmp_path)

    class Fills(Worker):
        def paint(self, row, keys):
            if len(self.painted) == 5:
                monkeypatch.setattr(
                    os, "fsync", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
                )
            super().paint(row, keys)

    with pytest.raises(StoreError):
        work(PLAN, store, Fills(store))
    monkeypatch.undo()
    assert len(list((tmp_path / "pictures").rglob("*.parquet"))) == 5
    work(PLAN, store, Worker(store))
    assert is_whole(PLAN, store)


def test_the_time_left_is_by_row():
    jobs = jobs_of(PLAN)
    progress = Progress(18)
    assert progress.remaining(jobs) is None
    progress.spent = {"plain": [1.0, 3.0], "ours": [10.0]}
    plain, ours, best = ([j for j in jobs if j.row.name == name] for name in ("plain", "ours", "best"))
    assert progress.remaining(plain) == 12 and progress.remaining(ours) == 60
    assert progress.remaining(best, 2) == pytest.approx(6 * 14 / 3 / 2)


FORKS = """
import os, sys
sys.path[:0] = {path!r}
from pathlib import Path
from bench.test_runner import PLAN, Worker
from dymo.bench.runner import work
from dymo.bench.store import Store
for line in sys.stdin:
    folder, pause, log = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if not child:
        store = Store(Path(folder))
        work(PLAN, store, Worker(store, float(pause), log), on_change=lambda progress, left: None)
        os._exit(0)
    print(child, flush=True)
"""


@pytest.fixture
def start():
    """start(folder, pause, log) -> the number of a new process that works on PLAN; forked, since imports take seconds."""
    here = Path(__file__).parent
    script = FORKS.format(path=[str(here.parent), str(here.parent.parent / "src")])
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def begin(folder, pause, log):
            process.stdin.write(f"{folder}\t{pause}\t{log}\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        yield begin
        process.stdin.close()


def running(pid):
    """Whether the process is there and no zombie, which nobody but its parent can wait for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="waits for processes by /proc")
def test_killed_ten_times_at_random_moments_and_finished(tmp_path, start):
    """Kill -9 while it paints, writes and claims; then the store is complete, without duplicate or corrupt shard."""
    rng, folder, log = random.Random(0), tmp_path / "run", tmp_path / "log"
    for _ in range(10):
        pid = start(folder, 0.05, log)
        time.sleep(rng.uniform(0.0, 0.2))
        os.kill(pid, signal.SIGKILL)
    store = Store(folder)
    work(PLAN, store, Worker(store))
    assert is_whole(PLAN, store)
    assert not list(folder.rglob("*.corrupt"))
    assert not list((folder / "claims").glob("*.json"))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="waits for processes by /proc")
def test_two_processes_share_a_run_without_doing_work_twice(tmp_path, start):
    folder, log = tmp_path / "run", tmp_path / "log"
    both = [start(folder, 0.05, log) for _ in range(2)]
    deadline = time.time() + 120
    while any(map(running, both)) and time.time() < deadline:
        time.sleep(0.05)
    lines = log.read_text().split()
    assert len(lines) == len(set(lines)) == 18
    assert is_whole(PLAN, Store(folder))
