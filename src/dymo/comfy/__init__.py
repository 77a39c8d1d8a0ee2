"""Nodes for ComfyUI. In ComfyUI/custom_nodes/dymo-nodes/__init__.py: `from dymo.comfy import comfy_entrypoint`."""

from __future__ import annotations

from typing import Any


async def comfy_entrypoint() -> Any:
    """The extension that ComfyUI asks for when it starts (its V3 interface, `comfy_api.latest`)."""
    # ComfyUI's own packages exist inside of ComfyUI alone.
    from .nodes import Extension

    return Extension()
