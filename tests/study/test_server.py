"""The pages of raters, through the web server's own interface: blind, once each, nothing lost, nothing run."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from PIL import Image
from starlette.testclient import TestClient
from study_run import PROMPTS, make_run

from dymo.commands.schema import Study
from dymo.commands.study import read_run
from dymo.errors import ConfigError
from dymo.study.answers import Answers
from dymo.study.design import trials_of
from dymo.study.outcome import outcome
from dymo.study.report import write_report
from dymo.study.server import application
from tools.study import rate


@pytest.fixture
def opened(run, tmp_path):
    """The application, its answers, and the design, on a file of its own."""
    design, images = read_run(Study(run=run, rows=["dymo", "plain"]))
    answers = Answers(tmp_path / "answers.sqlite")
    answers.open(design)
    return application(answers, images), answers, design


def mark(page):
    return re.search(r'name="trial" value="(\d+)"', page.text)[1]


def test_nothing_tells_a_rater_what_made_an_image(opened):
    app, answers, _ = opened
    with TestClient(app) as client:
        page = client.post("/start")
        names = re.findall(r'src="(/r/[^"]+\.png)"', page.text)
        assert len(names) == 2 and names[0] != names[1]
        for word in ("dymo", "plain", answers.secret):
            assert word not in page.text and not any(word in name for name in names)
        image = client.get(names[0])
        assert Image.open(io.BytesIO(image.content)).text == {} and "etag" not in image.headers
        assert client.get(names[0][:-6] + "00.png").status_code == 404
        assert "default-src 'self'" in page.headers["content-security-policy"]


def test_a_reload_and_another_tab_go_on_and_the_first_answer_counts(opened):
    app, answers, _ = opened
    with TestClient(app) as client:
        first = client.post("/start")
        url, one = first.url.path, mark(first)
        assert mark(client.get(url)) == one
        assert mark(client.post(url, data={"trial": one, "answer": "1"})) != one
        client.post(url, data={"trial": one, "answer": "2"})
        rater = url.removeprefix("/r/")
        assert len(answers.of(rater)) == 1
        trial = trials_of(answers.design, rater)[0]
        assert answers.of(rater)[one].answer == ("second" if trial.flipped else "first")
        # The same browser that starts again is the same rater.
        assert client.post("/start").url.path == url and len(answers.raters()) == 1


def test_what_is_no_answer_is_refused(opened):
    app, answers, _ = opened
    with TestClient(app) as client:
        page = client.post("/start")
        url = page.url.path
        for data in ({}, {"trial": "999", "answer": "1"}, {"trial": mark(page), "answer": "3"},
                     {"trial": mark(page), "answer": "1", "milliseconds": "-1"}):  # fmt: skip
            assert client.post(url, data=data).status_code == 400
        assert client.post(url, content=b"x" * 5000).status_code == 413
        assert client.get("/r/nobody").status_code == 404 and answers.of(url.removeprefix("/r/")) == {}


def test_html_in_prompts_is_shown_and_not_run(tmp_path):
    nasty = "<script>alert(1)</script> a red apple"
    folder = make_run(tmp_path / "run", prompts=[nasty])
    design, images = read_run(Study(run=folder, rows=["dymo", "plain"], question='<b onclick="x">Which?</b>'))
    answers = Answers(tmp_path / "answers.sqlite")
    answers.open(design)
    with TestClient(application(answers, images)) as client:
        for page in (client.get("/"), client.post("/start")):
            assert "<script>alert" not in page.text and "<b onclick" not in page.text
        assert "&lt;script&gt;alert(1)&lt;/script&gt; a red apple" in page.text


def test_simulated_raters_end_to_end_and_who_fails_the_checks_is_left_out(opened, tmp_path):
    """Who finds row `dymo` better in 18 of 24 prompts: that is its win rate, without who always presses the same."""
    app, answers, _ = opened
    better = set(PROMPTS[:18])

    def value(row, prompt, seed):
        return float((row == 0) == (prompt in better))

    for n in range(3):
        rate(app, answers, value, n, slips=0.0)
    rate(app, answers, value, 3, looks=False)
    rate(app, answers, value, 4, most=1)
    found = outcome(answers)
    assert found.raters == 3 and list(found.left_out) == ["rater 4", "rater 5"]
    assert (
        re.fullmatch(r"\d of 5 checks wrong", found.left_out["rater 4"])
        and "stopped after" in found.left_out["rater 5"]
    )
    (rate_,) = found.rates
    assert (rate_.first, rate_.rate, rate_.won, rate_.lost) == ("dymo", 0.75, 54, 18) and rate_.low < 0.75 < rate_.high
    written = write_report(found, tmp_path / "out")
    text = written.markdown.read_text()
    assert "Left out for the checks: 2 of 5 raters." in text and "- rater 4: " in text and "(study.png)" in text
    assert "75.0" in text and Image.open(written.figure).size[0] > 800


def test_another_study_does_not_go_into_the_same_file(opened, run):
    _, answers, design = opened
    other, _ = read_run(Study(run=run, rows=["plain", "dymo"]))
    with pytest.raises(ConfigError, match="another study"):
        Answers(answers.path).open(other)
    Answers(answers.path).open(design)


def test_kill_9_loses_no_answer(run, tmp_path):
    """A server of its own is killed right after it has said that an answer is kept."""
    port, file = free_port(), tmp_path / "answers.sqlite"
    words = ["-m", "dymo", "study", str(run), "dymo", "plain", "--answers", str(file), "--port", str(port)]
    server = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url, given = f"http://127.0.0.1:{port}", []
        page = None
        for _ in range(600):
            try:
                page = urllib.request.urlopen(urllib.request.Request(f"{url}/start", method="POST"))
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        assert page is not None
        own = page.url
        text = page.read().decode()
        for _ in range(3):
            trial = re.search(r'name="trial" value="(\d+)"', text)[1]
            text = urllib.request.urlopen(own, data=f"trial={trial}&answer=0".encode()).read().decode()
            given.append(trial)
    finally:
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
    assert list(Answers(file).of(own.rpartition("/")[2])) == given


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_what_cannot_be_shown_is_a_page_that_leads_back(opened, monkeypatch):
    app, answers, _ = opened
    with TestClient(app, raise_server_exceptions=False) as client:
        url = str(client.post("/start").url.path)
        refused = [client.get("/r/nobody"), client.get("/nowhere"), client.post(url, data={"answer": "7"})]
        assert [page.status_code for page in refused] == [404, 404, 400]
        for page, said in zip(refused, ("This link belongs to no rater", "There is nothing", "This is no answer"), strict=True):
            assert said in page.text and 'href="/"' in page.text and "content-security-policy" in page.headers
        monkeypatch.setattr(answers, "put", lambda given: (_ for _ in ()).throw(OSError("disk full")))
        failed = client.post(url, data={"trial": mark(client.get(url)), "answer": "1"})
        assert failed.status_code == 500 and "Something went wrong here" in failed.text and "disk full" not in failed.text


def test_a_pair_that_was_open_for_weeks_is_answered_and_its_number_is_the_title(opened):
    app, answers, _ = opened
    with TestClient(app) as client:
        page = client.post("/start")
        assert re.search(r"<title>Pair 1 of \d+: which image is better\?</title>", page.text)
        url = str(page.url.path)
        assert client.post(url, data={"trial": mark(page), "answer": "1", "milliseconds": "5000000000"}).status_code == 200
        assert len(answers.of(url.removeprefix("/r/"))) == 1
