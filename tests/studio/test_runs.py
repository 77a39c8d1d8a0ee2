"""Runs of the studio: what the page is told, what is on the disk, the line before a pipeline, and the stop."""

import json
import threading
import time

import pytest
import torch
from PIL import Image
from studio_client import CALL, PROMPT

import dymo
from dymo.errors import ConfigError
from dymo.report.png import read_png
from dymo.studio.gallery import Gallery
from dymo.studio.runs import MOST_WAITING, Run, Runs
from dymo.studio.settings import Settings
from dymo.studio.work import Loaded, Worker
from dymo.trace import Trace


def test_a_run_is_told_step_by_step_and_kept_with_what_made_it(studio, pipe, monkeypatch):
    monkeypatch.setattr("dymo.studio.work.EVERY", 0.0)

    class Told(Run):
        def change(self, **values):
            super().change(**values)
            told.append(self.view(0))

    told = []
    worker = Worker(lambda name: Loaded(pipe), lambda name: CALL, Gallery(studio.folder))
    worker(Told(Settings(**studio.settings(count=2, seed=5))))
    last, seen = told[-1], [view["now"] for view in told if view["now"]]
    assert [image["seed"] for image in last["images"]] == [5, 6] and all(image["unguided"] for image in last["images"])
    every = [now for now in seen if (now["seed"], now["phase"]) == (5, "aligned")]
    begun = [now for now in every if "beginning" in now["stage"]]
    assert [now["step"] for now in begun] == list(range(1, begun[0]["steps"] + 1)) and every[: len(begun)] == begun
    assert begun[-1]["stage"] == "beginning seed 4 of 4, of which the best goes on" and all(now["preview"] for now in begun)
    aligned = list({now["step"]: now for now in every[len(begun) :]}.values())
    assert [now["step"] for now in aligned] == [0, 1, 2, 3, 4] and all(now["preview"] for now in aligned[1:])
    assert len({now["preview"] for now in aligned[1:]}) == 4 and set(aligned[1]["maps"]) == {
        "red",
        "apple",
        "green",
        "car",
    }
    assert len(aligned[1]["maps"]["red"]) == len(aligned[1]["maps"]["red"][0])
    name = last["images"][0]["name"]
    parameters, record = read_png(studio.folder / f"{name}.png")
    assert (parameters.prompt, parameters.seed, record["reward"], record["preset"]) == (PROMPT, 5, "brightness", "fast")
    trace = Trace.from_json((studio.folder / f"{name}-trace.json").read_text())
    assert len(trace.steps) == 4 and trace.maps == {}
    assert studio.get(f"/api/gallery/{name}/course") == aligned[-1]["series"]


def test_the_unguided_image_is_the_pipeline_s_own(studio, pipe):
    name = studio.run(seed=7)["images"][0]["name"]
    plain = pipe(PROMPT, generator=torch.Generator().manual_seed(7), **CALL).images[0]
    with Image.open(studio.folder / f"{name}-unguided.png") as held:
        assert held.tobytes() == plain.tobytes()


def test_restored_settings_make_the_same_image_again(studio):
    graph = dymo.parse(PROMPT).to_json()
    more = {
        "seed": 3,
        "intent": "prettier",
        "spending": "quick",
        "guidance_scale": 3.0,
        "numbers": {"eta": [0.2, 0.1, 0.1]},
    }
    first = studio.run(graph=json.loads(graph), **more)["images"][0]["name"]
    content = (studio.folder / f"{first}.png").read_bytes()
    found = studio.post("/api/restore", content)
    # height and width are the offer's own here, and no settings of the page
    assert found["notes"] == ["left out: height, width"]
    again = {**studio.settings(), **found["settings"]}
    assert {key: again[key] for key in more} == more and again["graph"]["prompt"] == PROMPT
    second = studio.views(studio.post("/api/runs", again)["id"])[-1]["images"][0]["name"]
    with Image.open(studio.folder / f"{first}.png") as one, Image.open(studio.folder / f"{second}.png") as other:
        assert one.tobytes() == other.tobytes()


def test_the_graph_by_hand_is_what_guides(studio):
    graph = studio.post("/api/graph", {"prompt": PROMPT})["graph"]
    graph["entities"][1]["same_as"] = 0
    found = studio.post("/api/graph", {"prompt": PROMPT, "graph": graph})
    assert found["apart"] == [] and found["together"] == [["red", "apple"], ["green", "car"]]
    name = studio.run(graph=graph)["images"][0]["name"]
    _, record = read_png(studio.folder / f"{name}.png")
    assert record["graph"]["entities"][1]["same_as"] == 0


@pytest.mark.parametrize("step_taken, among_the_seeds", [(2, True), (10, False)])
def test_a_stop_keeps_the_last_prediction_and_the_rest_is_not_begun(step_taken, among_the_seeds, studio, pipe, monkeypatch):
    monkeypatch.setattr("dymo.studio.work.EVERY", 0.0)
    runs = []
    step = pipe.scheduler.__class__.step

    def stopping(self, *given, **more):
        runs.append(1)
        if len(runs) == step_taken:
            studio.post(f"/api/runs/{run}/stop", {})
        return step(self, *given, **more)

    monkeypatch.setattr(pipe.scheduler.__class__, "step", stopping)
    run = studio.start(count=3)
    last = studio.views(run)[-1]
    assert last["state"] == "stopped" and len(last["images"]) == 1 and not last["images"][0]["unguided"]
    after = last["images"][0]["stopped_after"]
    assert after == 0 if among_the_seeds else 1 <= after < 4
    monkeypatch.undo()
    name = last["images"][0]["name"]
    assert not (studio.folder / f"{name}-unguided.png").exists() and (studio.folder / f"{name}.png").is_file()


def test_what_the_engine_refuses_is_said_and_the_next_run_is_served(studio):
    failed = studio.run(prompt="a (red:99) apple")
    assert failed["state"] == "failed" and "99" in failed["message"]
    assert studio.run()["state"] == "done"


@pytest.mark.filterwarnings("ignore:the budget's seconds")
def test_steps_that_were_left_unguided_are_said(studio):
    last = studio.run(spending="open", seconds=1e-9)
    assert last["state"] == "done" and "left unguided" in last["images"][0]["note"]


def settings(pipeline="p", **more):
    return Settings(prompt="a cat", pipeline=pipeline, **more)


def test_one_run_a_pipeline_the_others_wait_and_see_their_place():
    going, order = threading.Event(), []

    def work(run):
        order.append(run.id)
        going.wait(5)

    runs = Runs(work)
    first, second, third, other = (runs.add(settings(name)) for name in "ppp" + "q")
    until(lambda: first.state == other.state == "running")
    assert [runs.place(run) for run in (first, second, third)] == [0, 1, 2] and second.state == "waiting"
    runs.stop(second)
    assert second.state == "stopped" and runs.place(third) == 1
    going.set()
    until(lambda: third.over and other.over)
    # The other pipeline's run begins beside them, before or after the first.
    assert [run for run in order if run != other.id] == [first.id, third.id] and third.state == "done"


def test_a_line_has_an_end():
    going = threading.Event()
    runs = Runs(lambda run: going.wait(5))
    for _ in range(MOST_WAITING):
        runs.add(settings())
    with pytest.raises(ConfigError, match="waiting already"):
        runs.add(settings())
    going.set()


def until(true, seconds=10.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)
