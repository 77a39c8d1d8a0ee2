"""The rows of the paper's second table that are flow transformers, plain and guided, by the command, on tiny pipelines."""

import csv

import flows
import pytest
import tiny
import yaml
from typer.testing import CliRunner

from dymo.bench.reading import read_table
from dymo.cli import app

REWARD = '''
def bright(images, prompts):
    return images.mean((1, 2, 3))

def red(images, prompts):
    return images[:, 0].mean((1, 2)) - images[:, 1].mean((1, 2))
'''
NAMES = ("SD V3.5", "SD V3.5 + DyMO", "FLUX", "FLUX + DyMO")


def test_sd35_and_flux_run_plain_and_with_dymo(tmp_path):
    (tmp_path / "rewards.py").write_text(REWARD)
    places = {"stabilityai/stable-diffusion-3.5-large": flows.sd3, "black-forest-labs/FLUX.1-dev": flows.flux}
    for name, make in places.items():
        make().save_pretrained(tmp_path / name)
    data = read_table(2, str(tmp_path / "stabilityai/stable-diffusion-3.5-large"))
    rows = [row for row in data["rows"] if row["name"] in NAMES]
    assert [row["name"] for row in rows] == list(NAMES)
    for row in rows:
        row["pipeline"] = str(tmp_path / row["pipeline"])
        # Of three steps two are guided by the reward, undamped: a tiny model's gradients are small.
        if row.get("method") == "dymo":
            row["settings"] = {"settings": {"damping": 0.0, "borders_by": "progress", "borders": [0.3, 0.3], "max_step": 0.2, "few_steps": "never"}}
    bright, red = (f"{tmp_path}/rewards.py:{name}" for name in ("bright", "red"))
    call = {**data["call"], "num_inference_steps": 3, "height": 64, "width": 64, "max_sequence_length": 36}
    plan = {"rows": rows, "pipeline": data["pipeline"], "prompts": [tiny.PROMPT], "reward": bright, "metrics": [bright, red], "call": call}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({**plan, "paper": data["paper"]}))
    ran = CliRunner().invoke(app, ["bench", "--config", str(tmp_path / "plan.yaml"), "--outdir", str(tmp_path / "run")])
    assert ran.exit_code == 0, ran.output
    with open(tmp_path / "run" / "report" / "images.csv", newline="") as file:
        found = {row["row"]: row for row in csv.DictReader(file)}
    assert set(found) == set(NAMES)
    for plain, guided in (NAMES[:2], NAMES[2:]):
        assert float(found[guided][bright]) > float(found[plain][bright]), "the reward that guides rises"
        assert (found[guided]["reward_calls"], found[plain]["reward_calls"]) == ("2.0", "0.0")
        assert float(found[guided]["tflop"]) > float(found[plain]["tflop"])


@pytest.fixture(autouse=True)
def no_parser(monkeypatch):
    """The words of the one prompt, so that no parser is loaded."""
    from dymo import SemanticGraph, aligner

    entities = [{"text": "apple", "attributes": ["red"]}, {"text": "car", "attributes": ["green"]}]
    monkeypatch.setattr(aligner, "_parse", lambda prompt: SemanticGraph.from_json({"prompt": prompt, "entities": entities}))
