"""The options of the command line, each declared once: a settings object for every command, which its work receives.

The classes' docstrings are the commands' help.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import typer

from ..config import PRESETS, Config, OnHacking, Truncation

PRESET = "fast"
"""The preset of the commands where the user names none."""
MINIATURE = "dymo-miniature"
"""What images and reports call the embedded model."""

_IMAGE, _METHOD, _MACHINE, _OUTPUT, _WHAT, _MESSAGES = "Image", "Method", "Machine", "Output", "Comparison", "Messages"
_NONE: Any = ()
"""The default of an option that can be repeated."""
Settings = TypeVar("Settings", bound="Common")


def _option(panel: str | None, help: str, *names: str, metavar: str | None = None, **more: Any) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel, **more)


def _several(panel: str | None, help: str, *names: str, metavar: str) -> Any:
    return _option(panel, f"{help} Can be repeated.", *names, metavar=metavar, show_default=False)


def _argument(help: str, metavar: str) -> Any:
    return typer.Argument(help=help, metavar=metavar, show_default=False)


# A table: an option a line.
# fmt: off
Outdir = Annotated[Path, _option(_OUTPUT, "Folder of the results.")]
Overwrite = Annotated[bool, _option(_OUTPUT, "Replace files of the same name, which are otherwise kept.", "--overwrite")]
Device = Annotated[str | None, _option(_MACHINE, "cuda, cuda:1, mps, cpu. [default: the best there is]")]
Dtype = Annotated[
    str | None,
    _option(_MACHINE, "float32, float16 or bfloat16. [default: a pipeline float16 on cuda, else float32; a reward as its file]",
            metavar="NAME"),
]
Steps = Annotated[int | None, _option(_IMAGE, "Steps of the sampler. [default: the pipeline's own]")]
GuidanceScale = Annotated[float | None, _option(_IMAGE, "Classifier-free guidance. [default: the pipeline's own]")]
Scheduler = Annotated[
    str | None,
    _option(_IMAGE, "ddim, ddpm, euler, euler-ancestral, or the name of a diffusers class. [default: the model's own]", metavar="NAME"),
]
Unet = Annotated[str | None, _option(_IMAGE, "Another UNet in the model, as those of Diffusion-DPO.", metavar="ID_OR_PATH")]
Json = Annotated[bool, _option(None, "Print JSON.", "--json")]


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every command has."""

    verbose: Annotated[int, _option(_MESSAGES, "Log what is done; -vv more.", "--verbose", "-v", count=True, show_default=False)] = 0
    log_level: Annotated[Literal["debug", "info", "warning", "error"] | None, _option(_MESSAGES, "Log from this level on.")] = None


@dataclass(frozen=True, kw_only=True)
class Parsing(Common):
    """What reads the prompts."""

    parser: Annotated[
        str, _option(_METHOD, "What reads prompts: spacy (offline), llm (an endpoint) or transformers (a local model).", metavar="NAME"),
    ] = "spacy"
    parser_model: Annotated[
        str | None, _option(_METHOD, "The model of llm [default: $DYMO_LLM_MODEL] or transformers.", metavar="NAME")
    ] = None
    base_url: Annotated[
        str | None, _option(_METHOD, "The endpoint of llm [default: $OPENAI_BASE_URL]; its key is $OPENAI_API_KEY.", metavar="URL")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Generate(Parsing):
    """Generate images of prompts with a pipeline **guided by DyMO**.

    For every prompt and seed: a PNG that carries its parameters, the trace as JSON, and its plot. Files that are there
    already are kept: the new ones get a number. Bad input is refused before the model is loaded, with exit code 2.
    """

    prompts: Annotated[list[str], _argument("What the image should show, in quotes.", "PROMPT")] = _NONE
    file: Annotated[Path | None, _option(_IMAGE, "More prompts, one a line.", metavar="PROMPTS.txt")] = None
    model: Annotated[
        str | None,
        _option(_IMAGE, "A hub id, a diffusers folder, or a .safetensors checkpoint. [default: the embedded miniature]", "--model", "-m",
                metavar="ID_OR_PATH"),
    ] = None
    config: Annotated[
        str | None,
        _option(_IMAGE, "With a .safetensors checkpoint: the diffusers folder or hub id with the configuration and tokenizers of its "
                "family. [default: the family's first model, from the hub]", metavar="ID_OR_PATH"),
    ] = None
    seeds: Annotated[str, _option(_IMAGE, "One image a prompt for each: `0-7`, `1,5,9`.")] = "0"
    steps: Steps = None
    guidance_scale: GuidanceScale = None
    negative_prompt: Annotated[str | None, _option(_IMAGE, "What to keep out of the image.")] = None
    scheduler: Scheduler = None
    height: Annotated[int | None, _option(_IMAGE, "Pixels, a multiple of 8. [default: the model's own]")] = None
    width: Annotated[int | None, _option(_IMAGE, "Pixels, a multiple of 8. [default: the model's own]")] = None
    loras: Annotated[
        list[str],
        _several(_IMAGE, "LoRA weights: a file, folder or hub id, with its strength (1 unless said).", "--lora", metavar="FILE[:STRENGTH]"),
    ] = _NONE
    unet: Unet = None
    pipeline_kwargs: Annotated[
        str | None, _option(_IMAGE, "More arguments of the pipeline's call, as `'{\"eta\": 1}'`.", metavar="JSON")
    ] = None
    reward: Annotated[
        str | None,
        _option(_METHOD, "The reward that guides: a name of `dymo rewards list`, a local folder, or FILE.py:NAME. "
                "[default: mini-pickscore for the miniature, else pickscore]", metavar="NAME"),
    ] = None
    watch: Annotated[list[str], _several(_METHOD, "A held-out reward, scored and never followed.", metavar="NAME")] = _NONE
    on_hacking: Annotated[
        OnHacking,
        _option(_METHOD, "Where the guiding reward rises and the watched ones fall: warn; stop guiding by it; or return the best of this "
                "image and the unguided one, by the watched rewards."),
    ] = "warn"
    preset: Annotated[str, _option(_METHOD, f"One of {', '.join(PRESETS)}.", metavar="NAME")] = PRESET
    set: Annotated[
        list[str],
        _several(_METHOD, f"Replace a value of the preset. Keys: {', '.join(field.name for field in dataclasses.fields(Config))}.",
                 metavar="KEY=VALUE"),
    ] = _NONE
    truncation: Annotated[
        Truncation | None, _option(_METHOD, "Words beyond the text encoder's window: error, or report them and go on. [default: error]")
    ] = None
    graph: Annotated[
        Path | None,
        _option(_METHOD, "The prompt's graph, as `dymo graph --json` prints it. [default: the prompt is parsed]", metavar="FILE.json"),
    ] = None
    budget_evaluations: Annotated[
        int | None, _option(_METHOD, "At most so many denoiser evaluations (NFE) an image.", metavar="N")
    ] = None
    budget_seconds: Annotated[float | None, _option(_METHOD, "At most so many seconds an image.", metavar="S")] = None
    preview_vae: Annotated[
        str | None, _option(_METHOD, "Decode predictions with this AutoencoderTiny: less memory, less time.", metavar="ID_OR_PATH")
    ] = None
    device: Device = None
    dtype: Dtype = None
    offload: Annotated[
        Literal["none", "model", "sequential"], _option(_MACHINE, "Keep in device memory only the model (or the layer) at work.")
    ] = "none"
    compare: Annotated[bool, _option(_OUTPUT, "Generate the unguided images too, and a contact sheet.", "--compare")] = False
    outdir: Outdir = Path("outputs")
    overwrite: Overwrite = False


@dataclass(frozen=True, kw_only=True)
class Demo(Common):
    """Generate with the **embedded miniature**, unguided and aligned with the same seeds, and show by how much it helped.

    Writes the images, a contact sheet, the traces with their plots, `report.html` and `report.md`; prints the table:
    the guiding reward, a held-out reward, the accuracy by an independent judge, evaluations and seconds.
    """

    outdir: Outdir = Path("outputs/demo")
    prompts: Annotated[int, _option(None, "How many held-out prompts of two objects.")] = 16
    seed: Annotated[int, _option(None, "Chooses the prompts and the noise.")] = 0
    overwrite: Overwrite = False
    words: Annotated[bool, _option(None, "List the words that the miniature knows, and stop.", "--words")] = False


@dataclass(frozen=True, kw_only=True)
class Graph(Parsing):
    """Show **what the parser understood**: the things a prompt names, their attributes and relations, and its style."""

    prompt: Annotated[list[str], _argument("The prompt, in quotes.", "[PROMPT]")] = _NONE
    on_failure: Annotated[str | None, _option(_METHOD, "Where the model fails: error, or fallback to spacy.", metavar="WHAT")] = None
    concurrency: Annotated[int | None, _option(_METHOD, "Questions at a time, of llm.", metavar="N")] = None
    graph: Annotated[
        Path | None, _option(None, "Show this graph instead; the reference's format is read too.", metavar="FILE.json")
    ] = None
    tokenizer: Annotated[
        str | None, _option(None, "Add the tokens of each word: miniature, a hub id, a pipeline's folder.", metavar="ID_OR_PATH")
    ] = None
    json: Annotated[bool, _option(None, "Print JSON, for `dymo generate --graph`.", "--json")] = False
    svg: Annotated[Path | None, _option(_OUTPUT, "Draw the graph.", metavar="FILE.svg")] = None
    file: Annotated[Path | None, _option(None, "Read many prompts, one a line; resumes an earlier run.", metavar="PROMPTS.txt")] = None
    out: Annotated[Path | None, _option(_OUTPUT, "With --file: one graph a line.", metavar="GRAPHS.jsonl")] = None
    overwrite: Overwrite = False


@dataclass(frozen=True, kw_only=True)
class Score(Common):
    """Score images with **reward models**, and print a table."""

    images: Annotated[list[Path], _argument("Images, and folders of images.", "IMAGE")]
    metrics: Annotated[
        str, _option(None, "Rewards: names of `dymo rewards list`, local folders, FILE.py:NAME, or judge.", metavar="A,B,...")
    ]
    prompt: Annotated[str | None, _option(None, "The prompt of all images.")] = None
    prompts: Annotated[
        Path | None,
        _option(None, 'Lines {"image": "a.png", "prompt": "..."}. [default: the parameters that a PNG carries]', metavar="FILE.jsonl"),
    ] = None
    sources: Annotated[list[str], _several(None, "Where a metric's weights are.", "--source", metavar="METRIC=PATH")] = _NONE
    json: Json = False
    out: Annotated[Path | None, _option(_OUTPUT, "Write the table: .csv, .json or .md.", metavar="FILE")] = None
    overwrite: Overwrite = False
    device: Device = None
    dtype: Dtype = None


@dataclass(frozen=True, kw_only=True)
class RewardsList(Common):
    """Say of each reward what it measures, its range, licence and size, whether it reads the timestep, and if it can guide."""

    json: Json = False


@dataclass(frozen=True, kw_only=True)
class RewardsCheck(Common):
    """Load a reward, try it on **two supplied images**, and compare it with published scores where these are known.

    Exit code 1 if something does not hold.
    """

    name: Annotated[str, _argument("As `dymo rewards list` names it, or the folder of a CLIP model.", "NAME")]
    source: Annotated[str | None, _option(None, "Another hub id, folder or weight file than its own.", metavar="ID_OR_PATH")] = None
    images: Annotated[
        Path | None, _option(None, "Where the images are whose scores the authors published.", metavar="FOLDER")
    ] = None
    device: Device = None
    dtype: Dtype = None


@dataclass(frozen=True, kw_only=True)
class Bench(Common):
    """Compare **methods x prompts x seeds x metrics**, DyMO among them, on any pipeline.

    Results are kept as they come: run the same command again to resume, or in a second shell to share the work. Ends with
    a report: tables with intervals and tests, score against cost, images, failures.
    """

    config: Annotated[Path | None, _option(_WHAT, "A whole comparison.", metavar="FILE.yaml")] = None
    table: Annotated[int | None, _option(_WHAT, "One of the paper's tables, 1 to 4.")] = None
    methods: Annotated[list[str], _several(_WHAT, "A row: a method's name, or FILE.py:NAME.", "--method", metavar="NAME")] = _NONE
    prompts: Annotated[
        str | None,
        _option(_WHAT, "miniature; a .txt, .jsonl or .parquet file; pick-a-pic, hpdv2, parti-prompts, drawbench, t2i-compbench; "
                "hub:OWNER/NAME:SPLIT:COLUMN. [default: miniature]", metavar="SET"),
    ] = None
    n: Annotated[int | None, _option(_WHAT, "How many prompts.", "--n")] = None
    seeds: Annotated[str | None, _option(_WHAT, "As `0-3`. [default: 0]")] = None
    metrics: Annotated[str | None, _option(_WHAT, "Rewards, and judge.", metavar="A,B,...")] = None
    versus: Annotated[str | None, _option(_WHAT, "The row that the others are tested against.", metavar="ROW")] = None
    pipeline: Annotated[str | None, _option(_IMAGE, "[default: miniature]", metavar="ID_OR_PATH")] = None
    unet: Unet = None
    lora: Annotated[str | None, _option(_IMAGE, "LoRA weights on the pipeline.", metavar="ID_OR_PATH")] = None
    steps: Steps = None
    guidance_scale: GuidanceScale = None
    scheduler: Scheduler = None
    reward: Annotated[str | None, _option(_METHOD, "The reward that guides.", metavar="NAME")] = None
    budget_evaluations: Annotated[int | None, _option(_METHOD, "Evaluations (NFE) an image, for each --method.", metavar="N")] = None
    budget_seconds: Annotated[float | None, _option(_METHOD, "Seconds an image, for each --method.", metavar="S")] = None
    engine: Annotated[Literal["local", "ray"], _option(_MACHINE, "What runs it.")] = "local"
    address: Annotated[str | None, _option(_MACHINE, "Of the Ray cluster. [default: what RAY_ADDRESS says]")] = None
    batch: Annotated[int | None, _option(_MACHINE, "Prompts generated together. [default: 1]")] = None
    device: Device = None
    dtype: Dtype = None
    outdir: Annotated[Path | None, _option(_OUTPUT, "Folder of the run. [default: runs/NAME-HASH, one a comparison]")] = None
    extend: Annotated[
        bool, _option(_OUTPUT, "Turn the comparison in --outdir into this one, and keep what both have.", "--extend")
    ] = False


@dataclass(frozen=True, kw_only=True)
class BenchReport(Common):
    """Write the **report** of a run anew: `report.html`, which opens without a server, and `report.md`."""

    run: Annotated[Path, _argument("The folder of a run.", "RUN")]
    versus: Annotated[str | None, _option(None, "The row that the others are tested against.", metavar="ROW")] = None
    out: Annotated[Path | None, _option(_OUTPUT, "Write it there. [default: RUN]", metavar="FOLDER")] = None
# fmt: on


def with_options_of(kind: type[Settings], work: Callable[[Settings], None]) -> Callable[..., None]:
    """A function whose parameters are the fields of `kind`, as Typer reads them; it calls `work` with the settings.

    Of a group of commands it does so only where none of the group is called.
    """
    hints = {**get_type_hints(kind, include_extras=True), "context": typer.Context}

    def call(context: typer.Context, **values: Any) -> None:
        if context.invoked_subcommand is None:
            work(kind(**values))

    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [_parameter("context", typer.Context)]
        + [_parameter(field.name, hints[field.name], field.default) for field in _own_first(kind)]
    )
    call.__annotations__ = hints
    call.__doc__ = kind.__doc__
    return call


def _parameter(name: str, annotation: Any, default: Any = dataclasses.MISSING) -> inspect.Parameter:
    empty = inspect.Parameter.empty
    default = empty if default is dataclasses.MISSING else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _own_first(kind: type[Common]) -> list[dataclasses.Field]:
    """The fields that the class declares itself, then its parent's, last those of all commands."""
    depth = {
        name: n
        for n, parent in reversed(list(enumerate(kind.__mro__)))
        for name in vars(parent).get("__annotations__", {})
    }
    return sorted(dataclasses.fields(kind), key=lambda field: depth[field.name])
