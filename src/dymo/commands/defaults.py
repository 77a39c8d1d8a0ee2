"""The settings that the commands choose where the user did not."""

MINIATURE_NAME = "dymo-miniature"
"""Its name in pictures and reports."""

DEMO_PRESET = "fast"
DEMO_BATCH = 8
"""Pictures made at once by the demo."""
