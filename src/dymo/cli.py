"""The command `dymo`. Only its options live here; what the commands do is in `dymo.commands`, imported when called."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from .commands.bench import app as bench_app
from .config import PRESETS, Config
from .errors import DyMOError

REFUSED = 2
"""Exit code for input that cannot be used."""


class _ClearErrors(TyperGroup):
    """Says in one red line what was wrong with the input, and warns in a yellow one; a bug keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        from .commands.notices import plain_warnings

        try:
            with plain_warnings():
                return super().invoke(ctx)
        except DyMOError as error:
            said = " ".join(line.strip() for line in str(error).splitlines())
            Console(stderr=True).print(Text.assemble(("Error: ", "bold red"), (said, "red")), soft_wrap=True)
            raise typer.Exit(REFUSED) from None


app = typer.Typer(
    cls=_ClearErrors,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Align the pictures of a diffusers text-to-image pipeline with their prompt as they are painted.",
    epilog="Start with `dymo demo`: it needs no download. `dymo COMMAND --help` has examples.",
)

_PAINTING, _STEERING, _MACHINE, _FILES = "Painting", "Steering", "Machine", "Output"
_PARSER_MODEL = "The model of llm [default: $DYMO_LLM_MODEL] or transformers."
_BASE_URL = "The endpoint of llm [default: $OPENAI_BASE_URL]; its key is $OPENAI_API_KEY."
_PRESETS = ", ".join(PRESETS)
_SETTINGS = ", ".join(field.name for field in dataclasses.fields(Config))


@app.command(
    epilog="Examples:\n\n"
    "`dymo demo` — 16 prompts, a few minutes on two cores\n\n"
    "`dymo demo --prompts 4 --outdir /tmp/demo` — a quick look"
)
def demo(
    outdir: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("outputs/demo"),
    prompts: Annotated[int, typer.Option(help="How many held-out prompts of two objects.")] = 16,
    seed: Annotated[int, typer.Option(help="Chooses the prompts and the noise.")] = 0,
) -> None:
    """Paint with the **embedded miniature**, unguided and aligned with the same seeds, and show by how much it helped.

    Writes the pictures, a contact sheet, the traces with their plots, `report.html` and `report.md`; prints the table:
    the guiding score, a held-out score, the accuracy by an independent judge, evaluations and seconds.
    """
    from .commands.demo import demo as run

    run(outdir, prompts, seed, Console())


@app.command(
    epilog="Examples:\n\n"
    '`dymo generate "a red apple to the left of a green car" --seeds 0-3 --compare` — the miniature, no download\n\n'
    '`dymo generate "a teal owl beside a brass lamp" -m runwayml/stable-diffusion-v1-5 --scheduler ddim --steps 50`\n\n'
    '`dymo generate "..." -m stabilityai/stable-diffusion-xl-base-1.0 --preview-vae madebyollin/taesdxl`\n\n'
    '`dymo generate "..." --preset paper --set recurrences=2 --set eta=[0.1,0.1,0.3] --budget-seconds 60`\n\n'
    '`dymo graph "..." --json > graph.json`, correct it, then `dymo generate "..." --graph graph.json`'
)
def generate(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="What to paint; quote each prompt.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="ID_OR_PATH",
            help="A hub id or a diffusers folder. [default: the embedded miniature]",
            rich_help_panel=_PAINTING,
        ),
    ] = None,
    seeds: Annotated[
        str, typer.Option(help="One picture a prompt for each: `0-7`, `1,5,9`.", rich_help_panel=_PAINTING)
    ] = "0",
    steps: Annotated[
        int | None, typer.Option(help="Steps of the sampler. [default: the pipeline's own]", rich_help_panel=_PAINTING)
    ] = None,
    guidance_scale: Annotated[
        float | None,
        typer.Option(help="Classifier-free guidance. [default: the pipeline's own]", rich_help_panel=_PAINTING),
    ] = None,
    negative_prompt: Annotated[
        str | None, typer.Option(help="What to keep out of the picture.", rich_help_panel=_PAINTING)
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="ddim, ddpm, euler or euler-ancestral. [default: the model's own]",
            rich_help_panel=_PAINTING,
        ),
    ] = None,
    height: Annotated[
        int | None,
        typer.Option(help="In pixels, a multiple of 8. [default: the model's own]", rich_help_panel=_PAINTING),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(help="In pixels, a multiple of 8. [default: the model's own]", rich_help_panel=_PAINTING),
    ] = None,
    lora: Annotated[
        str | None,
        typer.Option(metavar="ID_OR_PATH", help="LoRA weights to load on the model.", rich_help_panel=_PAINTING),
    ] = None,
    unet: Annotated[
        str | None,
        typer.Option(
            metavar="ID_OR_PATH",
            help="Another UNet in the model, as those of Diffusion-DPO and Diffusion-KTO.",
            rich_help_panel=_PAINTING,
        ),
    ] = None,
    pipeline_kwargs: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="More arguments of the pipeline's call, as `'{\"eta\": 1}'`.",
            rich_help_panel=_PAINTING,
        ),
    ] = None,
    reward: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="As `dymo rewards list` names them, or a local folder. "
            "[default: mini-pickscore for the miniature, else pickscore]",
            rich_help_panel=_STEERING,
        ),
    ] = None,
    watch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A held-out reward that is scored and never followed; can be repeated.",
            rich_help_panel=_STEERING,
        ),
    ] = None,
    on_hacking: Annotated[
        str,
        typer.Option(
            help="What to do where the guide rises and the watched rewards fall: warn, stop, or best (of this and the "
            "unguided picture, by the watched rewards).",
            rich_help_panel=_STEERING,
        ),
    ] = "warn",
    preset: Annotated[
        str, typer.Option(metavar="NAME", help=f"One of {_PRESETS}.", rich_help_panel=_STEERING)
    ] = "paper",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help=f"Replace one value of the preset; can be repeated. Keys: {_SETTINGS}.",
            rich_help_panel=_STEERING,
        ),
    ] = None,
    graph: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="The prompt's graph, as `dymo graph --json` prints it; else it is parsed.",
            rich_help_panel=_STEERING,
        ),
    ] = None,
    parser: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What reads the prompts: spacy (offline), llm (an endpoint) or transformers (a local model).",
            rich_help_panel=_STEERING,
        ),
    ] = "spacy",
    parser_model: Annotated[
        str | None, typer.Option(metavar="NAME", help=_PARSER_MODEL, rich_help_panel=_STEERING)
    ] = None,
    base_url: Annotated[str | None, typer.Option(metavar="URL", help=_BASE_URL, rich_help_panel=_STEERING)] = None,
    budget_evaluations: Annotated[
        int | None,
        typer.Option(metavar="N", help="At most this many denoiser evaluations a picture.", rich_help_panel=_STEERING),
    ] = None,
    budget_seconds: Annotated[
        float | None, typer.Option(metavar="S", help="At most this many seconds a picture.", rich_help_panel=_STEERING)
    ] = None,
    preview_vae: Annotated[
        str | None,
        typer.Option(
            metavar="ID_OR_PATH",
            help="Decode predictions with this AutoencoderTiny: less memory, less time.",
            rich_help_panel=_STEERING,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="cuda, cuda:1, mps, cpu. [default: the best there is]", rich_help_panel=_MACHINE),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float32, float16 or bfloat16. [default: float16 on cuda, else float32]", rich_help_panel=_MACHINE
        ),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Paint the unguided pictures too, and a contact sheet.", rich_help_panel=_FILES),
    ] = False,
    outdir: Annotated[Path, typer.Option(help="Folder of the pictures.", rich_help_panel=_FILES)] = Path("outputs"),
) -> None:
    """Paint prompts with a pipeline **while DyMO steers it**.

    For every prompt and seed: a PNG that carries its parameters, the trace as JSON, and its plot. Bad input is refused
    before the model is loaded, with exit code 2.
    """
    from .commands.generate import Request
    from .commands.generate import generate as run
    from .commands.parsers import ParserChoice

    request = Request(
        prompts=prompts, model=model, reward=reward, watch=watch or (), on_hacking=on_hacking, preset=preset,
        settings=settings or (), seeds=seeds, steps=steps, guidance_scale=guidance_scale,
        negative_prompt=negative_prompt, scheduler=scheduler, height=height, width=width,
        dtype=dtype, device=device, lora=lora, unet=unet, graph=graph,
        parser=ParserChoice(parser, parser_model, base_url), budget_evaluations=budget_evaluations,
        budget_seconds=budget_seconds, pipeline_kwargs=pipeline_kwargs, preview_vae=preview_vae, compare=compare,
        outdir=outdir,
    )  # fmt: skip
    run(request, Console())


@app.command(
    epilog="Examples:\n\n"
    '`dymo graph "a red apple and a green car, oil painting"`\n\n'
    '`dymo graph "a red apple and a green car" --json > graph.json`\n\n'
    '`dymo graph "a red apple and a green car" --tokenizer miniature --svg graph.svg`\n\n'
    "`dymo graph --file prompts.txt --out graphs.jsonl --parser llm --parser-model llama3.3 --base-url http://localhost:11434/v1`"
)
def graph(
    prompt: Annotated[str | None, typer.Argument(help="The prompt; quote it.")] = None,
    parser: Annotated[
        str, typer.Option(metavar="NAME", help="spacy (offline), llm (an endpoint) or transformers (a local model).")
    ] = "spacy",
    parser_model: Annotated[str | None, typer.Option(metavar="NAME", help=_PARSER_MODEL)] = None,
    base_url: Annotated[str | None, typer.Option(metavar="URL", help=_BASE_URL)] = None,
    on_failure: Annotated[
        str | None, typer.Option(metavar="WHAT", help="Where the model fails: error, or fallback to spacy.")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(metavar="N", help="Questions at a time, of llm.")] = None,
    graph: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Show this graph instead; the reference's format is read too."),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            metavar="ID_OR_PATH", help="Add the tokens of each word: miniature, a hub id, a pipeline's folder."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for `dymo generate --graph`.")] = False,
    svg: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw the graph.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(metavar="PROMPTS.txt", help="Read many prompts, one a line; goes on where it stopped."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="GRAPHS.jsonl", help="With --file: one graph a line.")] = None,
) -> None:
    """Show **what the parser understood**: the things a prompt names, their attributes and relations, and its style."""
    from .commands.graph import Request
    from .commands.graph import run as show
    from .commands.parsers import ParserChoice

    choice = ParserChoice(parser, parser_model, base_url, on_failure, concurrency)
    show(Request(prompt, choice, graph, tokenizer, as_json, svg, file, out), Console())


_rewards = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="The **reward models**: list, check.")
app.add_typer(_rewards, name="rewards")


@_rewards.command(name="list")
def list_rewards() -> None:
    """Say of each reward what it measures, its range, licence and size, whether it reads the timestep, and if it can guide."""
    from .commands.rewards import listing

    # Wider than most screens: better a long line than a cut name.
    Console(soft_wrap=True).print(listing().to_text(), markup=False, highlight=False)


@_rewards.command(
    epilog="Examples:\n\n"
    "`dymo rewards check mini-pickscore`\n\n"
    "`dymo rewards check hpsv2 --source /models/HPS_v2_compressed.pt --pictures /pictures` — with the authors' own"
)
def check(
    name: Annotated[str, typer.Argument(help="As `dymo rewards list` names it, or the folder of a CLIP model.")],
    source: Annotated[
        str | None, typer.Option(metavar="ID_OR_PATH", help="Another hub id, folder or weight file than its own.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where the pictures lie whose scores the authors published.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cuda, mps, cpu. [default: the best there is]")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, float16 or bfloat16. [default: as the file has it]")
    ] = None,
) -> None:
    """Load a reward, try it on **two supplied pictures**, and compare it with published scores where these are known.

    Exit code 1 if something does not hold.
    """
    from .commands.rewards import check as run

    if not run(name, source, pictures, device, dtype, Console()):
        raise typer.Exit(1)


@app.command(
    epilog="Examples:\n\n"
    "`dymo score outputs/ --metrics mini-pickscore,mini-hps` — pictures that `dymo generate` painted carry their prompts\n\n"
    '`dymo score a.jpg b.jpg --prompt "a red apple" --metrics pickscore,hpsv2.1,imagereward --out scores.csv`\n\n'
    "`dymo score pictures/ --prompts prompts.jsonl --metrics aesthetic --source aesthetic=/models/aesthetic --out scores.md`"
)
def score(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Pictures, and folders of pictures.")],
    metrics: Annotated[str, typer.Option(metavar="A,B,...", help="Rewards, as `dymo rewards list` names them.")],
    prompt: Annotated[str | None, typer.Option(help="The prompt of all pictures.")] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl",
            help='Lines {"image": "a.png", "prompt": "..."}. [default: the parameters that a PNG carries]',
        ),
    ] = None,
    sources: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="METRIC=PATH", help="Where a metric's weights lie; can be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the table: .csv, .json or .md.")] = None,
    device: Annotated[str | None, typer.Option(help="cuda, mps, cpu. [default: the best there is]")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, float16 or bfloat16. [default: as the file has it]")
    ] = None,
) -> None:
    """Score pictures with **reward models**, and print a table."""
    from .commands.score import Request
    from .commands.score import score as run

    run(Request(images, metrics, prompt, prompts, sources or (), out, device, dtype), Console())


app.add_typer(bench_app, name="bench")


def main() -> None:
    """The entry point."""
    app()
