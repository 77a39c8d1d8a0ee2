"""What diffusers refuses in a run, as an error for the user and no traceback."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import DyMOError, PipelineError, first_line
from ..parts import Option


@contextmanager
def refusals_of(pipe: Any, of_any_kind: bool = False) -> Iterator[None]:
    """Within it, what diffusers raises on the values that it was given is a PipelineError; a bug elsewhere keeps its traceback.

    of_any_kind: whether it was given values of --pipeline-kwargs, whose kinds it does not check: it fails where it uses them.
    """
    try:
        yield
    except DyMOError:
        raise
    except (ValueError, TypeError) as error:
        if not _refused_by_diffusers(error):
            raise
        raise PipelineError(f"{type(pipe).__name__} refuses this: {error}") from error
    except (AttributeError, LookupError) as error:
        if not of_any_kind or not _refused_by_diffusers(error):
            raise
        raise PipelineError(
            f"{type(pipe).__name__} cannot use a value of ", Option("pipeline_kwargs"), f" ({first_line(error)}): give it in the kind that it takes"
        ) from error


def _refused_by_diffusers(error: Exception) -> bool:
    """Whether diffusers itself raised this (its checks of the inputs), or the call did not fit its signature."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    raised_in = frame.f_globals.get("__name__", "")
    return raised_in.partition(".")[0] == "diffusers" or "unexpected keyword argument" in str(error)
