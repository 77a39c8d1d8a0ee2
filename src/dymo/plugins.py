"""Rewards, methods and objectives from outside this package: by entry point, or by a reference as `my.py:name`."""

from __future__ import annotations

import hashlib
import re
import sys
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import ConfigError, did_you_mean

BUILT_IN = {"dymo.rewards": ("dymo.miniature.plugins",)}
"""Group -> modules of this package whose table `PLUGINS` (name -> object) belongs to it.

Not entry points: these exist only once a package is installed, and are stale in a source checkout after a change.
"""

_REFERENCE = re.compile(r"(.+):([A-Za-z_]\w*(?:\.\w+)*)")


def is_reference(text: str) -> bool:
    """Whether `text` is of the form `file.py:name` or `package.module:name`."""
    return _REFERENCE.fullmatch(text) is not None


def no_name(text: str) -> str:
    """What to say of a reference that ends at its file, "" where `text` is none."""
    return f"{text!r} names a file and nothing in it: give {text}:NAME" if text.endswith(".py") else ""


def names(group: str) -> list[str]:
    """The names that `load` knows in an entry point group, without importing what they stand for."""
    installed = (point.name for point in entry_points(group=group))
    return list(dict.fromkeys([*_built_in(group), *sorted(installed)]))


def is_known(name: str, group: str) -> bool:
    """Whether `load` knows the name. Installed packages' entry points are read only where none of this package's own has it."""
    return name in _built_in(group) or bool(entry_points(group=group, name=name))


def load(reference: str, group: str) -> Any:
    """The object that a reference or a name stands for; a reference's code is run, as an import runs it.

    reference: `file.py:name` (the file is imported once, and its folder can be imported from), `package.module:name`, or
    the name of an entry point in `group`, as "dymo.rewards". Raises ConfigError with the true reason: no such file, module
    or name, or the exception that importing it raised.
    """
    if match := _REFERENCE.fullmatch(reference):
        return _attribute(_module(match[1], reference), match[2], reference)
    built_in = _built_in(group)
    if reference in built_in:
        return built_in[reference]
    points = {point.value: point for point in entry_points(group=group, name=reference)}
    if not points:
        known = names(group)
        installed = f"choose {', '.join(known)}, or " if known else ""
        raise ConfigError(
            f"no {reference!r}{did_you_mean(reference, known)} in {group}: {installed}give FILE.py:NAME or PACKAGE.MODULE:NAME"
        )
    if len(points) > 1:
        raise ConfigError(f"{reference!r} stands for several in {group}: give one of {', '.join(points)} itself")
    (point,) = points.values()
    told = f"{reference} ({point.value})"
    return _attribute(_module(point.module, told), point.attr, told)


def _built_in(group: str) -> dict[str, Any]:
    tables = [import_module(module).PLUGINS for module in BUILT_IN.get(group, ())]
    return {name: found for table in tables for name, found in table.items()}


def _module(place: str, reference: str) -> ModuleType:
    """The module of a path that ends in .py, or of a dotted name."""
    path = Path(place).expanduser().resolve()
    is_file = place.endswith(".py")
    if is_file and not path.is_file():
        raise ConfigError(f"{reference}: there is no file {path}")
    try:
        return _run(path) if is_file else import_module(place)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{reference}: {place} cannot be imported: {type(error).__name__}: {error}") from error


def _run(path: Path) -> ModuleType:
    # One module a path, under a name that no other module has: as Python's own import, which runs a file once.
    name = f"dymo_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # of a file that ends in .py
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # last: what is installed is not shadowed
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _attribute(found: Any, dotted: str, reference: str) -> Any:
    for part in dotted.split("."):
        if not hasattr(found, part):
            public = [name for name in vars(found) if not name.startswith("_")] if hasattr(found, "__dict__") else []
            there = ", ".join(public[:12]) or "nothing"
            raise ConfigError(f"{reference}: there is no {part!r}{did_you_mean(part, public)}; there: {there}")
        found = getattr(found, part)
    return found
