"""`dymo maps`: a row a layer, JSON, and the layers to read."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from dymo.cli import app
from dymo.commands.maps import advice, table
from dymo.pipelines.calibration import Layer


def layer(number, early, default=False, grid=(16, 16)):
    return Layer(number, f"block.{number}", grid, default, early, early)


LAYERS = [
    layer(0, [0.1, 0.3], True), layer(1, [0.5, 0.7]), layer(2, [0.4, 0.6], True), layer(3, [0.9, 0.9], grid=(8, 8)),
    layer(4, [0.1, 0.1], grid=(8, 8)),
]  # fmt: skip


def test_the_best_layers_are_as_many_as_the_default_ones_and_of_one_size():
    assert advice(LAYERS) == "The 2 layers read by default agree to 0.350 early, these to 0.550: --set map_layers=[1,2]"
    best = [layer(0, [0.1]), layer(1, [0.5], True)]
    assert advice(best) == "The layer read by default agrees to 0.500 early: no others of one size agree better."


def test_a_row_a_layer_with_its_interval_over_the_words():
    rows = table(LAYERS).rows
    assert rows[0] == [0, "block.0", "16x16", 0.2, "0.100 to 0.300", 0.2, "by default"] and rows[3][-1] == ""


def test_the_miniature_by_the_command():
    words = ["maps", "a red cat above a blue car", "--steps", "2", "--json"]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    other = CliRunner().invoke(app, [*words, "--pipeline-kwargs", '{"height": 64, "width": 64}'])
    assert {row["grid"][0] for row in json.loads(other.stdout)} == {row["grid"][0] // 2 for row in rows}
    twice = CliRunner().invoke(app, [*words, "--pipeline-kwargs", '{"guidance_scale": 2}'])
    assert twice.exit_code == 2 and "has an option of its own" in twice.output
    assert [row["number"] for row in rows] == list(range(len(rows))) and any(row["default"] for row in rows)
    refused = CliRunner().invoke(app, ["maps", "a red zebra"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert refused.exit_code == 2 and "zebra" in refused.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seed", "-1"], "--seed -1: give a whole number"),
        (["--seed", str(2**63)], "below 2**63"),
        (["--guidance-scale", "nan"], "--guidance-scale nan: must be a finite number"),
        (["--pipeline-kwargs", '{"eta": NaN}'], "NaN is no number"),
        (["--steps", "1", "--pipeline-kwargs", '{"eta": "x"}'], "StableDiffusionPipeline refuses this"),
        (["--variant", "fp16"], "--variant fp16 belongs to a hub id or a folder"),
        (["--config", "folder"], "--config folder belongs to a .safetensors checkpoint"),
    ],
)
def test_bad_input_is_one_clear_line(words, said):
    result = CliRunner().invoke(app, ["maps", "a red cat", *words], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert result.exit_code == 2 and said in result.output and "Traceback" not in result.output


def test_weights_in_a_prompt_are_no_words_of_it():
    result = CliRunner().invoke(app, ["maps", "a (red:1.3) cat", "--steps", "1", "--json"])
    assert result.exit_code == 0, result.output
