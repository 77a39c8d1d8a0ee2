"""DyMO itself, as one of the methods."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..aligner import DyMO
from ..config import preset
from ..pipelines.decode import preview_of
from ..prompt import load_parser
from ..understanding import Parser
from .contract import Result
from .handed import follows_loop


@dataclass(frozen=True)
class Aligned:
    """`DyMO(reward, preset, **settings)`: the settings are those of `dymo.Config`.

    preview_vae: as DyMO's, or the folder or hub id of an AutoencoderTiny.
    parser: a function, a name of `dymo.prompt.load_parser`, or {"name": ..., and the parser's settings}.
    """

    preset: str = "default"
    settings: dict[str, Any] = field(default_factory=dict)
    parser: Parser | str | dict[str, Any] | None = None
    preview_vae: Any = None

    @property
    def follows_gradient(self) -> bool:
        """Whether the settings leave the preference objective any weight."""
        return preset(self.preset, **self.settings).preference_weight > 0

    @follows_loop
    def run(self, pipe, prompts, reward=None, budget=None, generator=None, **pipeline_kwargs: Any) -> Result:
        pipeline_kwargs.pop("return_dict", None)  # a Result is returned, as by every method
        parser = load_parser(**self.parser) if isinstance(self.parser, dict) else self.parser
        aligner = DyMO(reward, self.preset, parser, preview_vae=preview_of(self.preview_vae, pipe), **self.settings)
        output = aligner(pipe, prompts, budget=budget, generator=generator, **pipeline_kwargs)
        return Result(output.images, output.trace)
