"""A run of `dymo bench` with two rows and 24 prompts, without a model: images of one colour, as the store has them."""

from __future__ import annotations

import io

from PIL import Image

from dymo.bench.plan import Comparison
from dymo.bench.store import Key, open_run
from dymo.miniature.world import captions

PROMPTS = [caption.text for caption in captions("test", 24)]


def make_run(folder, rows=("dymo", "plain"), prompts=PROMPTS):
    plan = Comparison.read({"rows": list(rows), "prompts": list(prompts), "metrics": ["mini-pickscore"]})
    store = open_run(folder, plan.model_dump_json(indent=1))
    for n, row in enumerate(plan.rows):
        for m, prompt in enumerate(plan.prompts):
            buffer = io.BytesIO()
            Image.new("RGB", (24, 24), (40 + 120 * n, 9 * m, 90)).save(buffer, format="PNG")
            store.put(Key(plan.hash_of(row), prompt, 0), {"scores": {}}, buffer.getvalue())
    return folder
