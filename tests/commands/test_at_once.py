"""Refusals come before slow imports: in a process of its own, neither torch nor diffusers nor transformers is imported."""

from __future__ import annotations

import json
import subprocess
import sys

import torch
from safetensors.torch import save_file

CODE = """
import json, sys
from typer.testing import CliRunner
from dymo.cli import app

for words in json.load(sys.stdin):
    result = CliRunner().invoke(app, words, env={"NO_COLOR": "1"})
    slow = [name for name in ("torch", "diffusers", "transformers", "peft") if name in sys.modules]
    print(json.dumps([words, result.exit_code, result.stderr.splitlines(), slow]))
"""


def test_what_cannot_be_used_is_refused_before_slow_imports(tmp_path):
    generate = ["generate", "a red apple"]
    lora, whole, vae = (str(tmp_path / f"{name}.safetensors") for name in ("lora", "whole", "vae"))
    save_file({"unet.x.attn2.to_k.lora_A.weight": torch.zeros(1, 2048)}, lora)
    sd15 = ["model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", "first_stage_model.x"]
    save_file({**{n: torch.zeros(1, 768) for n in sd15}, "cond_stage_model.transformer.x": torch.zeros(1)}, whole)
    save_file({"decoder.up.0.x": torch.zeros(1)}, vae)
    (tmp_path / "a.ckpt").write_bytes(b"PK\x03\x04")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:-1])
    plan = tmp_path / "plan.yaml"
    row = {"name": "tuned", "method": "plain", "lora": "owner/tuned:0.5"}
    plan.write_text(json.dumps({"prompts": ["x"], "metrics": [], "rows": ["plain", row]}))
    cases = {
        "there is no such file": [*generate, "-m", "./nothing"],
        "its copy there is": [*generate, "-m", "runwayml/stable-diffusion-v1-5"],
        "nor downloaded before": [*generate, "-m", "owner/name"],
        "has no model_index.json": [*generate, "-m", str(tmp_path)],
        "give them with --lora": [*generate, "-m", lora],
        "a VAE alone": [*generate, "-m", vae],
        "can run code": [*generate, "-m", str(tmp_path / "a.ckpt")],
        "is cut off": [*generate, "-m", str(tmp_path / "cut.safetensors")],
        "add --config FOLDER": [*generate, "-m", whole],
        "--lora owner/style: neither": [*generate, "--lora", "owner/style:0.8"],
        "a LoRA of SDXL, and the miniature": [*generate, "--lora", lora],
        "--unet owner/unet: neither": [*generate, "--unet", "owner/unet"],
        "--preview-vae owner/vae: neither": [*generate, "--preview-vae", "owner/vae"],
        "--scheduler 'dpm'": [*generate, "--scheduler", "dpm"],
        "has no karras spacing": [*generate, "--scheduler", "euler a karras"],
        "--dtype 'int8'": [*generate, "--dtype", "int8"],
        "--offload model: needs an accelerator": [*generate, "--offload", "model", "--device", "cpu"],
        "--offload model would move": [*generate, "--offload", "model", "--set", "gradient=full"],
        "--variant fp16 belongs": [*generate, "--variant", "fp16"],
        "--reward pickscore: yuvalkirstain/PickScore_v1: neither": [*generate, "--reward", "pickscore"],
        "--parser-model owner/llm: neither": [*generate, "--parser", "transformers", "--parser-model", "owner/llm"],
        "--metrics clipscore: openai": ["score", str(tmp_path / "a.png"), "--metrics", "clipscore", "--prompt", "x"],
        "the reward hpsv2: xswu/HPSv2: neither": ["rewards", "check", "hpsv2"],
        "--tokenizer owner/name: neither": ["graph", "a cat", "--tokenizer", "owner/name"],
        "--pipeline owner/name: neither": ["bench", "--method", "plain", "--pipeline", "owner/name"],
        "--lora owner/x: neither": ["bench", "--method", "plain", "--lora", "owner/x", "--lora", "owner/y:0.5"],
        "--variant fp16 belongs to a hub id or a folder, and the pipeline": [
            "bench",
            "--method",
            "plain",
            "--variant",
            "fp16",
        ],
        "--pipeline-config o/c belongs to a .safetensors checkpoint": ["bench", "--method", "plain", "--pipeline-config", "o/c"],
        f"{plan}: row tuned, lora: owner/tuned: neither": ["bench", "--config", str(plan)],
        "--metrics pickscore: yuvalkirstain": ["bench", "--method", "plain", "--metrics", "pickscore"],
    }
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    given = [
        words if words[0] in ("score", "rewards", "graph") else [*words, "--outdir", str(tmp_path / "out")]
        for words in cases.values()
    ]
    run = subprocess.run(
        [sys.executable, "-c", CODE], input=json.dumps(given), capture_output=True, text=True, check=True
    )
    for said, line in zip(cases, run.stdout.splitlines(), strict=True):
        words, code, lines, slow = json.loads(line)
        assert code == 2 and len(lines) == 1 and said in lines[0], (words, lines)
        assert slow == [], words
    assert not (tmp_path / "out").exists()
