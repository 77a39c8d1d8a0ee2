"""The settings that the commands choose where the user did not."""

from typing import Any

MINIATURE_DEFAULTS: dict[str, Any] = {"num_inference_steps": 25, "guidance_scale": 1.5}
"""What the embedded miniature is judged with: at 3 it obeys so well by itself that little is left to mend."""

MINIATURE_NAME = "dymo-miniature"
"""Its name in pictures and reports."""

DEMO_PRESET = "fast"
DEMO_BATCH = 8
"""Pictures made at once by the demo."""
