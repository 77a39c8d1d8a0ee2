"""What the nodes call the settings that messages name."""

from __future__ import annotations

import json

from ..config import SETTINGS
from ..parts import Argument, Limit, OfMethod, OfParser, OfReward, Option, Setting, surface

WIDGETS = {
    **{name: name for name in ("preset", "reward", "graph", "preview_vae", "prompt", "negative_prompt", "guidance_scale", "width", "height")},
    "num_inference_steps": "steps", "num_images_per_prompt": "batch_size",
}  # fmt: skip
"""Other keywords of the library -> the widgets or inputs that they are given by."""


IN_SETTINGS = (*SETTINGS, "parser", "watch", "on_hacking", "compile")
"""What the JSON of the settings may have."""


def _widget(of: Setting) -> str | None:
    if isinstance(of, Option):
        return of.name
    if isinstance(of, Limit):
        return "evaluations" if of.name == "evaluations" else None
    return None if isinstance(of, (OfMethod, OfParser, OfReward)) else WIDGETS.get(of.name)


def _say(of: Setting) -> str | None:
    given = of.value is not ...
    if (widget := _widget(of)) is not None:
        return f"{widget} {of.value}" if given else widget
    if isinstance(of, (Argument, Limit, OfMethod, OfParser, OfReward)) or of.name not in IN_SETTINGS:
        return None
    return f'settings {{"{of.name}": {json.dumps(of.value, default=str) if given else "..."}}}'


words = surface(_say, _widget, "give {}")
