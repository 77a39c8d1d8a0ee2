"""`dymo score`: images with their prompts in, a table out."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image, PngImagePlugin
from tiny_rewards import clip, clip_folder
from typer.testing import CliRunner

from dymo import ConfigError, PromptError, load_reward
from dymo.cli import app
from dymo.commands.images import ends_apart, find_images, listed_prompts, prompt_of, read_image, read_prompts_file
from dymo.commands.score import read_metrics
from dymo.report.png import Parameters, save_png

A1111 = """a red apple, (masterpiece:1.2)
on two lines
Negative prompt: blurry, green
Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, Size: 512x512, Model hash: e1441589a6, Lora hashes: "a: 1, b: 2\""""


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200", "NO_COLOR": "1"})


def colour(red, green, blue, size=(20, 16)):
    return Image.new("RGB", size, (red, green, blue))


@pytest.fixture
def folder(tmp_path):
    """Two images that carry prompts and one that does not, of two sizes."""
    images = tmp_path / "images"
    images.mkdir()
    save_png(
        colour(255, 0, 0), images / "a.png", Parameters("in the text", steps=3, seed=1), {"prompt": "in the record"}
    )
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", A1111)
    colour(0, 255, 0, (30, 16)).save(images / "b.png", pnginfo=info)
    colour(0, 0, 255).save(images / "c.jpg")
    (images / "notes.txt").write_text("no image")
    return images


@pytest.fixture
def model(tmp_path):
    return clip_folder(tmp_path / "clip", clip())


def test_the_table_has_the_reward_s_own_scores(folder, model, tmp_path):
    lines = [{"image": "some/where/c.jpg", "prompt": "a blue car"}, {"file_name": "a.png", "prompt": "listed"}]
    (tmp_path / "p.jsonl").write_text("\n\n".join(map(json.dumps, lines)))
    out = tmp_path / "scores.csv"
    words = ("--metrics", "pickscore,hpsv2", "--source", f"pickscore={model}", "--source", f"hpsv2={model}")
    result = invoke("score", folder, *words, "--prompts", tmp_path / "p.jsonl", "--out", out, "--device", "cpu")
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(out.open()))
    prompts = ["listed", "a red apple, (masterpiece:1.2)\non two lines", "a blue car"]
    assert [row["prompt"] for row in rows] == prompts
    for name in ("pickscore", "hpsv2"):
        reward = load_reward(name, source=model)
        expected = [
            reward.score(read_image(folder / file)[None], [prompt]).item()
            for file, prompt in zip(("a.png", "b.png", "c.jpg"), prompts, strict=True)
        ]
        assert [float(row[name]) for row in rows] == pytest.approx(expected, rel=1e-5)
    assert "mean of 3" in result.output and "a.png" in result.output


@pytest.mark.parametrize("ending", ["json", "md"])
def test_other_forms(folder, model, tmp_path, ending):
    out = tmp_path / f"scores.{ending}"
    words = ("--prompt", "a red|blue car", "--metrics", "clipscore", "--source", f"clipscore={model}", "--out", out)
    result = invoke("score", folder / "c.jpg", *words, "--device", "cpu")
    assert result.exit_code == 0, result.output
    if ending == "json":
        found = json.loads(out.read_text())
        assert found["rows"][0]["prompt"] == "a red|blue car"
        assert found["means"]["clipscore"] == found["rows"][0]["clipscore"]
    else:
        assert "a red\\|blue car" in out.read_text() and "| mean of 1" in out.read_text()


def test_prompts_of_pngs(folder):
    assert prompt_of(folder / "a.png") == "in the record"
    assert prompt_of(folder / "b.png") == "a red apple, (masterpiece:1.2)\non two lines"
    assert prompt_of(folder / "b.png", None, "listed") == "listed"
    assert prompt_of(folder / "b.png", "given", "listed") == "given"
    with pytest.raises(PromptError, match=r"c.jpg: no prompt in the file: give --prompt"):
        prompt_of(folder / "c.jpg")


def listed(folder, *lines):
    """The file of --prompts with these (image, prompt)."""
    file = folder / "listed.jsonl"
    file.write_text("".join(json.dumps({"image": image, "prompt": prompt}) + "\n" for image, prompt in lines))
    return file


def test_names_that_repeat_over_folders_have_each_its_own_prompt(tmp_path, model):
    """GenEval's layout: 00000/samples/0000.png."""
    images = [tmp_path / "run" / f"0000{n}" / "samples" / "0000.png" for n in range(2)]
    for image in images:
        image.parent.mkdir(parents=True)
        colour(255, 0, 0).save(image)
    file = listed(tmp_path, ("00000/samples/0000.png", "a cat"), ("00001/samples/0000.png", "a dog"))
    assert listed_prompts(images, file) == dict(zip(images, ("a cat", "a dog"), strict=True))
    words = ("--metrics", "clipscore", "--source", f"clipscore={model}", "--prompts", file, "--device", "cpu")
    result = invoke("score", *(image.parent for image in images), *words, "--out", tmp_path / "s.csv")
    assert result.exit_code == 0, result.output
    assert "00000/samples/0000.png" in result.output and "00001/samples/0000.png" in result.output
    assert [row["prompt"] for row in csv.DictReader((tmp_path / "s.csv").open())] == ["a cat", "a dog"]


def test_an_image_whose_prompt_is_not_certain_gets_none(tmp_path, monkeypatch):
    a, b, c = (tmp_path / name / "0.png" for name in "abc")
    both = ("a/0.png", "a cat"), ("b/0.png", "a dog")
    with pytest.raises(ConfigError, match=r"c/0.png could be of the line 'a/0.png' or 'b/0.png'.*more of the path"):
        listed_prompts([c], listed(tmp_path, *both))
    # The line is another image's.
    assert listed_prompts([a, c], listed(tmp_path, both[0])) == {a: "a cat"}
    assert listed_prompts([a, b, c], listed(tmp_path, *both)) == {a: "a cat", b: "a dog"}
    # A list of bare names, or of a folder that was moved, is for each folder.
    for name in ("0.png", "moved/0.png"):
        assert listed_prompts([a, b], listed(tmp_path, (name, "a cat"))) == {a: "a cat", b: "a cat"}
    assert listed_prompts([c], listed(tmp_path, both[0], ("b/0.png", "a cat"))) == {c: "a cat"}
    a.parent.mkdir()
    monkeypatch.chdir(a.parent)
    assert listed_prompts([Path("0.png")], listed(tmp_path, *both)) == {Path("0.png"): "a cat"}
    with pytest.raises(ConfigError, match="line 2: 'a/0.png' has another prompt in an earlier line"):
        listed_prompts([a], listed(tmp_path, both[0], ("a/0.png", "a dog")))


def test_images_in_the_table_have_the_part_of_their_path_that_tells_them_apart():
    paths = [Path(p) for p in ("x/a/0.png", "x/b/0.png", "x/b/1.png", "2.png", "y/a/s/3.png", "y/b/s/3.png")]
    assert ends_apart(paths) == ["a/0.png", "b/0.png", "1.png", "2.png", "a/s/3.png", "b/s/3.png"]


def test_images_are_found_once_and_in_order(folder):
    names = [path.name for path in find_images([folder / "c.jpg", folder, folder / "a.png"])]
    assert names == ["c.jpg", "a.png", "b.png"]
    with pytest.raises(ConfigError, match="no such image"):
        find_images([folder / "missing.png"])
    with pytest.raises(ConfigError, match="cannot be read as an image .*leave it out, or name the whole image"):
        read_image(folder / "notes.txt")


def test_what_generate_puts_beside_its_images_is_left_out(tmp_path):
    for name in ("a-0000.png", "a-0000-trace.png", "a-0000-unguided.png", "lonely-trace.png", "sheet.png"):
        (tmp_path / name).write_bytes(b"")
    names = [path.name for path in find_images([tmp_path])]
    assert names == ["a-0000-unguided.png", "a-0000.png", "lonely-trace.png"]
    assert find_images([tmp_path / "sheet.png"]) == [tmp_path / "sheet.png"]


def test_pixels_are_read_as_they_are_and_transparency_is_white(tmp_path):
    colour(255, 51, 0).save(tmp_path / "a.png")
    expected = torch.tensor([1.0, 0.2, 0.0]).view(3, 1, 1).expand(3, 16, 20)
    torch.testing.assert_close(read_image(tmp_path / "a.png"), expected)
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png").eq(1).all()


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_of_grey_are_scaled_and_not_cut_off(tmp_path, ending):
    grey = np.linspace(0, 65535, 16 * 20).reshape(16, 20).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / f"a.{ending}")
    expected = torch.from_numpy(grey / 65535).float().expand(3, 16, 20)
    torch.testing.assert_close(read_image(tmp_path / f"a.{ending}"), expected, atol=0.51 / 255, rtol=0)
    if ending == "png":
        Image.fromarray(grey).save(tmp_path / "b.png", transparency=int(grey[8, 0]))
        found = read_image(tmp_path / "b.png")
        assert found[:, 8, 0].eq(1).all() and (found - expected)[:, :8].abs().max() < 0.51 / 255


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_numbers_without_a_range_are_refused_by_name(tmp_path, kind):
    Image.fromarray(np.full((8, 8), 300, kind)).save(tmp_path / "a.tif")
    with pytest.raises(ConfigError, match=r"a.tif: its pixels are 32-bit numbers \(mode [IF]\).*save it with 8 or 16 bits"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_an_image_is_read_as_viewers_show_it(tmp_path, ending):
    image = Image.new("RGB", (20, 16), "black")
    image.paste("white", (0, 0, 10, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    image.save(tmp_path / f"a.{ending}", exif=exif)
    found = read_image(tmp_path / f"a.{ending}")
    assert found.shape == (3, 20, 16) and found[:, :8].min() > 0.9 and found[:, 12:].max() < 0.1


def test_an_exif_that_cannot_be_read_turns_nothing_and_is_said(tmp_path, caplog):
    colour(255, 51, 0).save(tmp_path / "a.png", exif=b"Exif\0\0garbage")
    assert read_image(tmp_path / "a.png").shape == (3, 16, 20)
    assert "a.png: its EXIF cannot be read" in caplog.text


def test_a_file_that_is_no_image_is_not_answered_with_prompts(tmp_path):
    (tmp_path / "fake.png").write_text("no image")
    with pytest.raises(ConfigError, match=r"fake.png: cannot be read as an image \(no format of images\); leave it out"):
        prompt_of(tmp_path / "fake.png")


def test_a_score_that_is_not_finite_names_its_image(folder, tmp_path):
    (tmp_path / "mine.py").write_text("def red(images, prompts):\n    return (images[:, 0].mean((1, 2)) - 0.5).log()\n")
    result = invoke("score", folder / "a.png", folder / "c.jpg", "--prompt", "x", "--metrics", f"{tmp_path / 'mine.py'}:red")
    said = " ".join(result.stderr.split())
    assert result.exit_code == 2 and f"its score of {folder / 'c.jpg'} is nan" in said and "leave out this image or the metric" in said


@pytest.mark.parametrize("text", ["[1]", '"x"', '{"prompt": 5}'])
def test_a_record_of_another_program_is_none(tmp_path, text):
    info = PngImagePlugin.PngInfo()
    info.add_text("dymo", text)
    colour(0, 255, 0, (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    with pytest.raises(PromptError, match="no prompt in the file"):
        prompt_of(tmp_path / "a.png")
    info.add_text("parameters", "a red apple")
    colour(0, 255, 0, (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    assert prompt_of(tmp_path / "a.png") == "a red apple"


def test_a_record_that_is_too_deep_is_told(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("dymo", "[" * 100_000)
    colour(0, 255, 0, (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    with pytest.raises(PromptError, match="too deep"):
        prompt_of(tmp_path / "a.png")


@pytest.mark.parametrize("line", ["[" * 100_000, "{", "[]", '{"image": "a.png"}', '{"prompt": "x"}', "3", '{"image": "b.png", "prompt": 5}'])
def test_a_bad_line_is_named(tmp_path, line):
    (tmp_path / "p.jsonl").write_text('{"image": "a.png", "prompt": "x"}\n' + line)
    with pytest.raises(ConfigError, match="line 2: give"):
        read_prompts_file(tmp_path / "p.jsonl")


@pytest.mark.parametrize(
    "metrics, sources, said",
    [
        ("pikscore", [], "unknown reward 'pikscore' .did you mean 'pickscore'"),
        (" , ", [], "name at least one"),
        ("pickscore", ["hpsv2=/x"], "give METRIC=PATH with one of the metrics"),
        ("pickscore", ["pickscore"], "give METRIC=PATH"),
    ],
)
def test_metrics_that_are_none(metrics, sources, said):
    with pytest.raises(ConfigError, match=said):
        read_metrics(metrics, sources)


def test_bad_input_is_refused_before_a_model_is_loaded(folder, tmp_path, monkeypatch):
    import dymo.rewards

    def loaded(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(dymo.rewards, "load_reward", loaded)
    for words, said in (
        ((folder, "--metrics", "nothing", "--prompt", "x"), "'nothing'"),
        ((folder, "--metrics", "pickscore"), "no prompt in the file"),
        ((folder, "--metrics", "pickscore", "--prompt", "x", "--out", "scores.xls"), "use one of .csv, .json, .md"),
        ((folder, "--metrics", "pickscore", "--prompt", "x", "--out", "/proc/x/t.md"), "choose another --out,"),
        ((tmp_path / "none", "--metrics", "pickscore"), "no such image"),
    ):
        result = invoke("score", *words)
        assert result.exit_code == 2 and said in " ".join(result.stderr.split()), result.output


def test_the_tokenizer_of_the_tests_is_the_one_saved(model):
    assert load_reward(model).tokenizer(["a car"]).input_ids == tiny.tokenizer()(["a car"]).input_ids
