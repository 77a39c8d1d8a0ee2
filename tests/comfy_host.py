"""What the nodes see of ComfyUI, small: the parts of `comfy_api.latest`, `comfy.model_management` and `folder_paths` that they use.

Names, arguments and checks are those of ComfyUI's own (comfy_api/latest/_io.py and __init__.py, 0.3.6x): an argument that is not there
is refused here too.
"""

from __future__ import annotations

import enum
import sys
import types
from dataclasses import dataclass, field
from typing import Any


class Input:
    def __init__(self, id: str, display_name: str | None = None, optional: bool = False, tooltip: str | None = None, **_more: Any):
        assert not _more, f"unknown arguments {sorted(_more)}"
        self.id, self.optional, self.tooltip = id, optional, tooltip


class Widget(Input):
    own: tuple[str, ...] = ()

    def __init__(self, id: str, display_name: str | None = None, optional: bool = False, tooltip: str | None = None, **more: Any):
        self.default = more.pop("default", None)
        for name in self.own:
            setattr(self, name, more.pop(name, None))
        super().__init__(id, display_name, optional, tooltip, **more)


class Output:
    def __init__(self, id: str | None = None, display_name: str | None = None, tooltip: str | None = None, is_output_list: bool = False):
        self.id, self.display_name = id, display_name


def kind(io_type: str, *own: str) -> Any:
    """A type of ComfyUI, with `Input` and `Output`; own: the arguments of its widget, which it has if `own` is given."""
    base = type("Input", (Widget,), {"own": own, "io_type": io_type}) if own else type("Input", (Input,), {"io_type": io_type})
    return types.SimpleNamespace(Input=base, Output=type("Output", (Output,), {"io_type": io_type}))


class Hidden(enum.StrEnum):
    unique_id = "UNIQUE_ID"


@dataclass
class Schema:
    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""

    def validate(self) -> None:
        ids = [one.id for one in self.inputs] + [one.id or f"_{i}_{one.io_type}_" for i, one in enumerate(self.outputs)]
        assert len(set(ids)) == len(ids), f"ids must be unique: {ids}"


class NodeOutput:
    def __init__(self, *args: Any, ui: Any = None):
        self.args, self.ui = args, ui

    def __getitem__(self, index: int) -> Any:
        return self.args[index]


class ComfyNode:
    hidden: Any = None

    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        found = cls.define_schema()
        found.validate()
        return found

    @classmethod
    def run(cls, node_id: str = "7", **inputs: Any) -> NodeOutput:
        """As ComfyUI runs it: a clone of the class, with what is hidden, is given every required input by name."""
        clone = type(cls.__name__, (cls,), {"hidden": types.SimpleNamespace(unique_id=node_id)})
        known = {one.id: one for one in cls.GET_SCHEMA().inputs}
        assert set(inputs) <= set(known)
        missing = [name for name, one in known.items() if not one.optional and name not in inputs]
        found = clone.execute(**{name: known[name].default for name in missing}, **inputs)
        assert isinstance(found, NodeOutput) and len(found.args) == len(cls.GET_SCHEMA().outputs)
        return found


class ComfyExtension:
    async def on_load(self) -> None:
        pass


class Interrupted(BaseException):
    """ComfyUI's InterruptProcessingException."""


class Host:
    """The state of a ComfyUI: shown: what was said of progress. interrupt_at: the call at which its user has pressed stop."""

    def __init__(self, files: dict[str, dict[str, str]] | None = None):
        self.files = files or {}
        self.shown: list[tuple[int, int, str, Any]] = []
        self.asked, self.interrupt_at, self.unloaded = 0, None, 0

    def check(self) -> None:
        self.asked += 1
        if self.asked == self.interrupt_at:
            raise Interrupted

    def unload(self) -> None:
        self.unloaded += 1

    def set_progress(self, value: float, max_value: float, node_id: str | None = None, preview_image: Any = None) -> None:
        self.shown.append((value, max_value, node_id, preview_image))

    def modules(self) -> dict[str, types.ModuleType]:
        """Name -> module, for sys.modules."""
        io = types.SimpleNamespace(
            Custom=kind, Schema=Schema, NodeOutput=NodeOutput, ComfyNode=ComfyNode, Hidden=Hidden, Image=kind("IMAGE"),
            Combo=kind("COMBO", "options", "control_after_generate"), String=kind("STRING", "multiline", "placeholder"),
            Int=kind("INT", "min", "max", "step", "control_after_generate"), Float=kind("FLOAT", "min", "max", "step", "round"),
        )  # fmt: skip
        execution = types.SimpleNamespace(set_progress=self.set_progress)
        sync = type("ComfyAPISync", (), {"execution": execution})
        management = {
            "get_torch_device": lambda: "cpu", "unload_all_models": self.unload, "throw_exception_if_processing_interrupted": self.check,
        }  # fmt: skip
        paths = {
            "get_filename_list": lambda folder: sorted(self.files.get(folder, {})),
            "get_full_path_or_raise": lambda folder, name: self.files[folder][name],
            "folder_names_and_paths": self.files,
        }
        latest = {"io": io, "ComfyAPISync": sync, "ComfyExtension": ComfyExtension}
        contents = {
            "comfy": {}, "comfy.model_management": management, "comfy_api": {}, "comfy_api.latest": latest, "folder_paths": paths,
        }  # fmt: skip
        made = {name: types.ModuleType(name) for name in contents}
        for name, module in made.items():
            vars(module).update(contents[name])
            parent, _, last = name.rpartition(".")
            if parent:
                setattr(made[parent], last, module)
        return made


def forget() -> None:
    """Let the nodes be imported anew, by another ComfyUI."""
    sys.modules.pop("dymo.comfy.nodes", None)
