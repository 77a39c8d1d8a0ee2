"""Running a comparison: killed, shared, resumed. The worker here is quick; the store and the runner are the real ones."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from dymo.bench.plan import Comparison
from dymo.bench.results import collect
from dymo.bench.runner import Rank, jobs_of, rank_here, work
from dymo.bench.store import Key, Store, StoreError
from dymo.errors import ConfigError, PipelineError


def plan_of(**changes):
    rows = [{"name": "best", "method": "best-of-n", "match": "ours"}, "plain", {"name": "ours", "method": "dymo"}]
    prompts = ["a red apple", "a green car", "a blue hat"]
    return Comparison.read({"rows": rows, "prompts": prompts, "seeds": [0, 1], "metrics": ["mini-hps"], **changes})


PLAN = plan_of()


class Worker:
    """Writes a file for each image it is told to generate, and a line in a log, after `pause` seconds."""

    def __init__(self, store, pause=0.0, log=None):
        from dymo.bench.worker import scores_of

        self.store, self.pause, self.log, self.generated, self.metric = store, pause, log, [], scores_of("mini-hps")

    def generate(self, row, keys):
        time.sleep(self.pause)
        for key in keys:
            self.store.put(key, {"row": row.name, "seconds": 0.1, "scores": {}}, key.prompt.encode())
            self.generated.append((row.name, key))
            if self.log is not None:
                with open(self.log, "a") as file:
                    file.write(f"{self.store.image_path(key)}\n")

    def measure(self, keys):
        for key in keys:
            record = self.store.record(key)
            self.store.put(key, {**record, "scores": {self.metric: 1.0}})


def is_whole(plan, store):
    keys = {key for job in jobs_of(plan) for key in job.keys}
    assert all(list(store.record(key)["scores"].values()) == [1.0] for key in keys)
    assert all(store.image_path(key).read_bytes() == key.prompt.encode() for key in keys)
    files = [path for path in (store.folder / "images").rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert len(files) == len(keys), "a file an image, and nothing else"
    return True


def test_every_image_once_and_what_sets_a_budget_before_what_has_it(tmp_path):
    store = Store(tmp_path)
    worker = Worker(store)
    progress = work(PLAN, store, worker)
    assert (progress.total, progress.done, progress.failed, progress.generated) == (18, 18, 0, 18)
    order = [(name, key.prompt, key.seed) for name, key in worker.generated]
    for prompt in PLAN.prompts:
        for seed in PLAN.seeds:
            assert order.index(("ours", prompt, seed)) < order.index(("best", prompt, seed))
    assert is_whole(PLAN, store)
    again = Worker(store)
    assert work(PLAN, store, again).generated == 0 and not again.generated


def test_equal_settings_are_one_image_whatever_the_rows_are_called(tmp_path):
    store = Store(tmp_path)
    twice = plan_of(rows=[{"name": "a"}, {"name": "b"}], prompts=["x"], seeds=[0])
    assert work(twice, store, Worker(store)).generated == 1
    other = plan_of(rows=[{"name": "a"}], prompts=["x"], seeds=[0], call={"num_inference_steps": 5})
    assert work(other, store, Worker(store)).generated == 1


def test_images_of_rows_that_read_no_reward_are_taken_over_from_a_folder_that_has_them_under_it(tmp_path):
    plan, store = plan_of(rows=["plain", "reno"], prompts=["x", "y"], seeds=[0], reward="mini-hps"), Store(tmp_path)
    plain = plan.row("plain")
    older = [Key(plan.older_hash_of(plain), prompt, 0) for prompt in plan.prompts]
    Worker(store).generate(plain, older)
    Worker(store).measure(older)
    result, _ = collect(plan, store)
    assert len(result.images) == 2 and not result.absent  # before it is gone on with
    worker = Worker(store)
    work(plan, store, worker)
    assert [name for name, _ in worker.generated] == ["reno", "reno"] and is_whole(plan, store)
    assert not list(store.images(plan.older_hash_of(plain)))
    assert not (tmp_path / "images" / plan.older_hash_of(plain)).exists()
    store.move(plan.older_hash_of(plain), plan.hash_of(plain))  # there is no more to be moved
    assert is_whole(plan, store)


@pytest.mark.parametrize("batch", [1, 2])
def test_an_image_that_fails_is_noted_the_rest_goes_on_and_the_next_run_tries_it_again(tmp_path, batch):
    plan, store = plan_of(batch=batch), Store(tmp_path)

    class Fails(Worker):
        def generate(self, row, keys):
            if row.name == "ours" and "a green car" in [key.prompt for key in keys]:
                raise PipelineError("does not fit")
            super().generate(row, keys)

    progress = work(plan, store, Fails(store))
    assert progress.failed == 4 and progress.generated == 14  # ours and the row that needs it, two seeds each
    reasons = {key: reason for key, _, reason in store.images(plan.hash_of(plan.row("ours"))) if reason}
    assert set(reasons.values()) == {"PipelineError: does not fit"} and {key.prompt for key in reasons} == {
        "a green car"
    }
    assert work(plan, store, Worker(store)).generated == 4
    assert is_whole(plan, store)


def test_prompts_are_generated_in_batches_of_one_row_and_seed(tmp_path):
    plan, store = plan_of(batch=2), Store(tmp_path)
    batches = []

    class Notes(Worker):
        def generate(self, row, keys):
            assert len({(key.configuration, key.seed) for key in keys}) == 1
            batches.append(len(keys))
            super().generate(row, keys)

    progress = work(plan, store, Notes(store))
    assert sorted(batches) == [1] * 6 + [2] * 6 and (progress.generated, progress.done) == (18, 18)
    assert is_whole(plan, store)
    # What is left of a batch that was cut off is generated by itself.
    lost = next(job for job in jobs_of(plan) if len(job.keys) == 2).keys[1]
    store.image_path(lost).unlink()
    batches.clear()
    assert work(plan, store, Notes(store)).generated == 1 and batches == [1]


def test_what_another_process_generated_and_did_not_live_to_measure_is_measured(tmp_path, monkeypatch):
    plan, store = plan_of(rows=[{"name": "a"}], prompts=["x"], seeds=[0]), Store(tmp_path)
    claimed = store.claimed

    @contextmanager
    def as_it_came_free(name):
        with claimed(name) as mine:
            store.put(jobs_of(plan)[0].keys[0], {"row": "a", "seconds": 0.1, "scores": {}}, b"x")
            yield mine

    monkeypatch.setattr(store, "claimed", as_it_came_free)
    worker = Worker(store)
    work(plan, store, worker)
    assert not worker.generated and is_whole(plan, store)


def test_a_metric_that_fails_keeps_the_image(tmp_path):
    plan, store = plan_of(rows=["plain"], prompts=["x"], seeds=[0]), Store(tmp_path)

    class Fails(Worker):
        def measure(self, keys):
            raise ValueError("cannot read it")

    assert work(plan, store, Fails(store)).failed == 1
    ((_, record, reason),) = store.images(plan.hash_of(plan.rows[0]))
    assert record is not None and reason == "ValueError: cannot read it"
    assert work(plan, store, Worker(store)).generated == 0 and is_whole(plan, store)


def test_an_image_that_a_metric_cannot_score_still_sets_the_budget_of_another_row(tmp_path):
    store = Store(tmp_path)

    class Fails(Worker):
        def measure(self, keys):
            if any(key.configuration == PLAN.hash_of(PLAN.row("ours")) for key in keys):
                raise ValueError("cannot read it")
            super().measure(keys)

    assert work(PLAN, store, Fails(store)).failed == 6
    assert all(record["scores"] for _, record, _ in store.images(PLAN.hash_of(PLAN.row("best"))))


def test_a_score_of_an_old_store_that_is_not_finite_is_tried_again(tmp_path):
    plan, store = plan_of(rows=["plain"], prompts=["x"], seeds=[0]), Store(tmp_path)
    worker = Worker(store)
    work(plan, store, worker)
    key = jobs_of(plan)[0].keys[0]
    store.put(key, {**store.record(key), "scores": {worker.metric: float("nan")}})
    assert work(plan, store, worker).generated == 0 and is_whole(plan, store)


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(tmp_path, monkeypatch):
    store = Store(tmp_path)

    class Fills(Worker):
        def generate(self, row, keys):
            if len(self.generated) == 5:
                monkeypatch.setattr(
                    os, "fsync", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
                )
            super().generate(row, keys)

    with pytest.raises(StoreError):
        work(PLAN, store, Fills(store))
    monkeypatch.undo()
    assert len(list((tmp_path / "images").rglob("*.png"))) == 5
    work(PLAN, store, Worker(store))
    assert is_whole(PLAN, store)


def test_a_process_knows_its_rank_from_the_launcher(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert rank_here() == Rank()
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert rank_here() == Rank(3, 4, 1)
    for name, value in (("RANK", "three"), ("RANK", "4"), ("RANK", "-1"), ("WORLD_SIZE", "0"), ("LOCAL_RANK", "")):
        with monkeypatch.context() as changed, pytest.raises(ConfigError, match=f"{name}={value}.*or unset them"):
            changed.setenv(name, value)
            rank_here()


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
        work(PLAN, store, Worker(store, float(pause), log), on_change=lambda progress: None)
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
    """Kill -9 while it generates, writes and claims; then the store is complete, and every image once."""
    rng, folder, log = random.Random(0), tmp_path / "run", tmp_path / "log"
    for _ in range(10):
        pid = start(folder, 0.05, log)
        time.sleep(rng.uniform(0.0, 0.2))
        os.kill(pid, signal.SIGKILL)
    store = Store(folder)
    work(PLAN, store, Worker(store))
    assert is_whole(PLAN, store)


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
