"""The studio on a tiny random pipeline, called through the web server's own interface."""

from __future__ import annotations

import json

import pytest
import tiny
from starlette.testclient import TestClient

from dymo.rewards import FunctionReward
from dymo.studio.gallery import Gallery
from dymo.studio.server import Offer, application
from dymo.studio.work import Loaded

CALL = {"num_inference_steps": 4, "height": 32, "width": 32, "guidance_scale": 2.0}
PROMPT = "a red apple and a green car"


class Client:
    """What the page does, without the page."""

    def __init__(self, client: TestClient, folder):
        self.client, self.folder = client, folder

    def post(self, path, data, status=200):
        answer = (
            self.client.post(path, json=data) if not isinstance(data, bytes) else self.client.post(path, content=data)
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    def get(self, path):
        return self.client.get(path).json()

    def settings(self, **more):
        return {"prompt": PROMPT, "pipeline": "tiny", "reward": "brightness", **more}

    def start(self, **more):
        return self.post("/api/runs", self.settings(**more))["id"]

    def views(self, run):
        """Every view of a run that the page is sent, to its end."""
        with self.client.stream("GET", f"/api/runs/{run}/events") as answer:
            return [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]

    def run(self, **more):
        return self.views(self.start(**more))[-1]


@pytest.fixture(scope="session")
def pipe():
    found = tiny.sd()
    found.set_progress_bar_config(disable=True)
    return found


@pytest.fixture
def studio(pipe, tmp_path, monkeypatch):
    bright = FunctionReward(tiny.brightness)
    monkeypatch.setattr("dymo.studio.work.load_reward", lambda name: bright)
    monkeypatch.setattr("dymo.studio.server.BEAT", 0.01)
    offers = {"tiny": Offer(("brightness",), CALL, (PROMPT,)), "other": Offer((), CALL)}
    app = application(offers, lambda name: Loaded(pipe), Gallery(tmp_path / "gallery"), hosts=("testserver",))
    with TestClient(app) as client:
        yield Client(client, tmp_path / "gallery")
