"""What somebody may send on purpose: markup, paths, huge and broken images, another site's requests."""

import io
import json
import re
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient
from studio_client import PROMPT

import dymo.studio.server
from dymo.report.png import png_bytes
from dymo.studio.gallery import Gallery
from dymo.studio.restore import MOST_PIXELS, restore
from dymo.studio.server import Offer, application
from dymo.studio.settings import INTENTS, Settings, nearest_intent
from dymo.studio.words import not_known, understood

PAGE = Path(dymo.studio.server.__file__).parent / "page"
OFFERS = {"tiny": None}


def png(data, image=None):
    return png_bytes(image or Image.new("RGB", (8, 8)), None, data)


def test_the_page_never_makes_html_of_text_and_runs_no_script_but_its_own(studio):
    scripts = [file.read_text() for file in PAGE.glob("*.js")]
    assert scripts
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", "\n".join(scripts))
    page = studio.client.get("/")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert (
        "unsafe" not in page.headers["content-security-policy"]
        and "<script>" not in page.text
        and " on" + "click=" not in page.text
    )


def test_the_numbers_of_weights_are_no_words():
    assert not_known("a (red:1.3) cat and a [blue] zebra").startswith("The miniature does not know 'zebra'. It draws ")
    assert not_known("a (red:1.3) cat") == ""
    assert [word["text"] for word in understood("a (red:1.3) cat")["words"]] == ["a", "red", "cat"]


@pytest.mark.parametrize(
    ("more", "said"), [({"prompt": "  "}, "the prompt is empty"), ({"negative_prompt": "a zebra"}, "does not know 'zebra'")]
)
def test_what_the_miniature_cannot_read_is_refused_at_once(tmp_path, more, said):
    app = application({"tiny": Offer((), {}, miniature=True)}, lambda name: None, Gallery(tmp_path))
    answer = TestClient(app).post("/api/runs", json={"pipeline": "tiny", "prompt": "a red apple", **more})
    assert answer.status_code == 400 and said in answer.json()["error"]


def test_markup_in_a_prompt_comes_back_as_it_is(studio):
    prompt = "<img src=x onerror=alert(1)> a red apple"
    answer = studio.client.post("/api/graph", json={"prompt": prompt})
    assert answer.headers["content-type"] == "application/json" and answer.json()["graph"]["prompt"] == prompt


@pytest.mark.parametrize("path", ["/etc/passwd", "../../secret", "file:///etc/passwd", "evil/model"])
def test_paths_in_an_image_are_not_opened(path, monkeypatch):
    def opened(*_, **__):
        raise AssertionError("a file was opened")

    record = {"prompt": PROMPT, "model": path, "reward": path, "lora": [[path, 1]], "unet": path, "preview_vae": path,
              "config": path, "scheduler": path, "graph": {"prompt": path, "entities": []}}  # fmt: skip
    content = png(record)
    monkeypatch.setattr("pathlib.Path.open", opened)
    monkeypatch.setattr("dymo.rewards.registry.spec_of", opened)
    found, notes = restore(content, OFFERS)
    assert "pipeline" not in found and "graph" not in found and len(notes) == 2


def test_a_reward_that_is_not_offered_is_said_and_not_loaded(studio):
    found = studio.post("/api/restore", png({"prompt": PROMPT, "model": "tiny", "reward": "evil.py:reward"}))
    assert "reward" not in found["settings"] and "evil.py:reward" in found["notes"][0]
    refused = studio.post("/api/runs", studio.settings(reward="evil.py:reward"), 400)
    assert "no reward" in refused["error"]


def test_40_megapixels_are_refused_before_a_pixel_is_decoded(monkeypatch, studio):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    width, height = 8000, 5000
    assert width * height == 40_000_000 > MOST_PIXELS

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    assert "8000 x 5000 pixels" in studio.post("/api/restore", content, 400)["error"]


def test_broken_files_and_records_are_one_line(studio):
    whole = png({"prompt": PROMPT})
    with io.BytesIO() as buffer:
        Image.new("RGB", (8, 8)).save(buffer, "JPEG")
        jpeg = buffer.getvalue()
    cases = [b"", b"no image", whole[:40], whole[: len(whole) // 2], jpeg, png(None), png({"no": "prompt"}), png({"prompt": 7}),
             png({"prompt": ""}), png({"prompt": "x" * 3000})]  # fmt: skip
    for content in cases:
        error = studio.post("/api/restore", content, 400)["error"]
        assert error and "\n" not in error and "Traceback" not in error
    odd = {"prompt": PROMPT, "seed": -3, "call": {"num_inference_steps": "many"}, "preset": "fast", "overrides": {"eta": {"a": 1}},
           "budget": [1], "graph": {"prompt": PROMPT, "entities": [{"text": "dog"}]}}  # fmt: skip
    found = studio.post("/api/restore", png(odd))
    assert found["settings"]["prompt"] == PROMPT and len(found["notes"]) >= 3 and "graph" not in found["settings"]


def test_files_beside_the_gallery_are_not_served(studio):
    studio.folder.mkdir(exist_ok=True)
    (studio.folder / "secret.png").write_bytes(b"x")
    (studio.folder.parent / "20260101-000000-000-s1.png").write_bytes(b"x")
    for name in ("secret", "..%2F20260101-000000-000-s1", "%2e%2e/20260101-000000-000-s1", "20260101-000000-000-s1"):
        assert studio.client.get(f"/gallery/{name}.png").status_code == 404


def test_another_site_cannot_start_a_run(studio):
    for headers in ({"origin": "https://evil.example"}, {"origin": "null"}):
        assert studio.client.post("/api/runs", json=studio.settings(), headers=headers).status_code == 403
    assert studio.client.get("/", headers={"host": "evil.example"}).status_code == 400
    own = {"origin": "http://testserver"}
    assert studio.client.post("/api/graph", json={"prompt": PROMPT}, headers=own).status_code == 200


@pytest.mark.parametrize(
    "change, said",
    [
        ({"prompt": ""}, "Prompt: is empty; say what"), ({"prompt": 7}, "Prompt: 7; say what"), ({"pipeline": "/etc"}, "no pipeline"),
        ({"count": 99}, "Images: 99; give a whole number from 1 to 8"), ({"count": None}, "Images: is empty; give a whole number"),
        ({"seed": -1}, "First seed: -1; give a whole number from 0 to"), ({"seed": 1.5}, "First seed: 1.5; give a whole number"),
        ({"guidance_scale": "x" * 999}, "…; give a number from 0 to 100"), ({"intent": "best"}, 'What matters: "best"; choose one of balanced'),
        ({"numbers": {"k": -1}}, "k -1: must be positive"), ({"numbers": {"nothing": 1}}, "no number"), ({"numbers": {"eta": "x"}}, "eta 'x': give"),
        ({"numbers": {"semantic_weight": -1}}, "semantic weight -1: must be"), ({"numbers": [1]}, "All numbers: [1]; "),
        ({"numbers": {"k": {"a": 1}}}, "k {'a': 1}"), ({"graph": {"prompt": "a dog"}}, "another prompt"), ({"extra": 1}, "extra"),
        ({"graph": {"prompt": PROMPT, "entities": [{"text": "dog"}]}}, "dog"), ({"graph": {}}, "prompt: it is not there, got {}"),
        ({"graph": {"prompt": PROMPT, "entities": [3]}}, "entities.0: give an object, got 3"),
        ({"steps": 0}, "Steps: 0; give a whole number from 1 to 1000"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_used_are_refused_at_once(studio, change, said):
    error = studio.post("/api/runs", {**studio.settings(), **change}, 400)["error"]
    assert said in error and "=" not in error and "nput should" not in error
    assert studio.get("/api/runs") == []


def test_what_is_no_json_object_is_refused(studio):
    for content in (b"{", b"[1]", b"[" * 100_000, b'"x"', b'{"prompt": "\\ud800"}'):
        assert studio.client.post("/api/runs", content=content).status_code == 400
    assert studio.client.post("/api/runs", content=b"x" * 300_000).status_code == 413


@pytest.mark.parametrize("intent", INTENTS)
def test_an_intent_is_found_again_from_its_numbers(intent):
    config = Settings(prompt="a cat", pipeline="p", intent=intent, numbers={"k": 2.5}).config()
    assert nearest_intent(config) == (intent, {"k": 2.5})


def test_what_dymo_generate_writes_is_restored():
    record = {"prompt": PROMPT, "seed": 4, "model": "tiny", "preset": "thorough", "overrides": {"k": 2.0}, "reward": None,
              "call": {"num_inference_steps": 30, "guidance_scale": 5.0}, "budget": {"evaluations": None, "seconds": 9.0}}  # fmt: skip
    found, notes = restore(png(json.loads(json.dumps(record))), OFFERS)
    assert notes == [] and found["intent"] == "faithful" and found["numbers"] == {"k": 2.0}
    assert (found["steps"], found["guidance_scale"], found["seconds"], found["spending"]) == (30, 5.0, 9.0, "open")
