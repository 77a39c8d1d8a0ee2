"""`dymo maps`: how well each attention layer's maps agree, early in a run, with where the final image has the things."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ..errors import ConfigError
from ..miniature import MINIATURE_DEFAULTS
from ..prompt.reading import read
from ..report.interval import paired_bootstrap
from ..report.table import Cell, Column, Table
from ..seeds import SEEDS_END
from . import models, options
from .refusals import refusals_of
from .schema import RECORDED, Maps
from .screen import busy, say, show_table
from .sources import check_model, check_parser, load_parser
from .transformer import check_transformer

if TYPE_CHECKING:
    from ..pipelines.calibration import Layer


def maps(settings: Maps, console: Console, notes: Console) -> None:
    """Run the pipeline on the prompts, and print a row a layer. Raises DyMOError."""
    prompts = options.read_prompts("dymo maps", settings.prompts, settings.file)
    models.check_choices(settings.scheduler, settings.dtype, auto=True)
    options.check_steps(settings.steps)
    options.check_finite(guidance_scale=settings.guidance_scale)
    if not 0 <= settings.seed < SEEDS_END:
        raise ConfigError(f"--seed {settings.seed}: give a whole number from 0 on, below 2**63")
    config, _ = options.read_config(settings.preset, ())
    check_parser(settings)
    call: dict[str, Any] = options.read_pipeline_kwargs(settings.pipeline_kwargs, options.OF_THE_RUN)
    if settings.model is None:
        call = MINIATURE_DEFAULTS | call
        options.check_no_files(settings.config, settings.variant, settings.revision)
        for prompt in prompts:
            options.check_miniature_words(read(prompt, config.markup).text)
    else:
        check_model(settings.model, settings.config, settings.variant, settings.revision, settings.transformer)
    if settings.transformer is not None:
        check_transformer(settings.transformer, settings.model)
    given = {"num_inference_steps": settings.steps, "guidance_scale": settings.guidance_scale}
    call |= {name: value for name, value in given.items() if value is not None}

    import dymo

    device = models.choose_device(settings.device)
    models.check_offload(settings.offload, device)
    models.quiet_libraries()
    with busy(notes, f"Loading {settings.model or RECORDED} …"):
        pipe = models.load_pipeline(
            settings.model, settings.scheduler, settings.dtype, device, config=settings.config, variant=settings.variant,
            revision=settings.revision, transformer=settings.transformer, offload=settings.offload, steered=True, call=call,
            withheld=options.OF_THE_RUN,
        )  # fmt: skip
        parser = load_parser(settings) if settings.parser != "spacy" else None
        aligner = dymo.DyMO(None, preset=settings.preset, parser=parser)
    with busy(notes, "Comparing the layers …"), refusals_of(pipe):
        layers = aligner.layers(pipe, prompts, seed=settings.seed, **call)
    if settings.json:
        say(console, json.dumps([dataclasses.asdict(layer) for layer in layers], indent=2))
        return
    show_table(table(layers), console)
    say(console, "", advice(layers))


def table(layers: Sequence[Layer]) -> Table:
    """A row a layer, the intervals over the words."""
    columns = [
        Column("layer", 0), Column("block"), Column("map"), Column("early", 3), Column("95 % interval"), Column("end", 3), Column("read")
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for layer in layers:
        early = paired_bootstrap(layer.early)
        rows.append([
            layer.number, layer.name, f"{layer.grid[0]}x{layer.grid[1]}", early.mean, f"{early.low:.3f} to {early.high:.3f}",
            fmean(layer.late), "by default" if layer.default else "",
        ])  # fmt: skip
    return Table(columns, rows)


def advice(layers: Sequence[Layer]) -> str:
    """The default layers' mean agreement, and that of the best as many of one size."""
    default = [layer.number for layer in layers if layer.default]
    early = {layer.number: fmean(layer.early) for layer in layers}
    sizes = {layer.grid: [other.number for other in layers if other.grid == layer.grid] for layer in layers}
    sets = [sorted(sorted(of, key=early.__getitem__)[-max(1, len(default)) :]) for of in sizes.values()]
    best = max(sets, key=lambda of: fmean(early[i] for i in of))
    layers_read = f"{len(default)} layers read by default agree" if len(default) > 1 else "layer read by default agrees"
    own = f"The {layers_read} to {fmean(early[i] for i in default):.3f} early"
    if set(best) == set(default):
        return f"{own}: no others of one size agree better."
    shown = ",".join(map(str, best))
    return f"{own}, these to {fmean(early[i] for i in best):.3f}: --set map_layers=[{shown}]"
