"""Replace an attribute on one instance, and put back exactly what was there."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_ABSENT = object()


@contextmanager
def patched(owner: Any, name: str, value: Any) -> Iterator[None]:
    """`owner.name` is `value` inside; a function keeps the signature of what it replaces (pipelines inspect it)."""
    before = vars(owner).get(name, _ABSENT)
    if callable(value):
        original = getattr(owner, name)

        @functools.wraps(original)
        def value(*args: Any, __call=value, **kwargs: Any) -> Any:
            return __call(*args, **kwargs)

    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
