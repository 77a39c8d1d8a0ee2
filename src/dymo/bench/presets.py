"""The paper's tables 1 to 4 as plans: on the miniature, and in the paper's own setting on SD1.5 and SDXL.

The paper's figures are those of arXiv 2412.00759 (500 prompts of Pick-a-Pic, one seed).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import ConfigError
from ..miniature import MINIATURE_DEFAULTS, WEIGHTS
from .plan import Match, Plan, Row
from .prompts import load_prompts

SD15, SDXL = "stable-diffusion-v1-5/stable-diffusion-v1-5", "stabilityai/stable-diffusion-xl-base-1.0"
TABLES = (1, 2, 3, 4)
OURS, THOROUGH = "DyMO", "DyMO, thorough"
TRAJECTORIES = 10
"""What the methods that climb get on an ordinary pipeline, in trajectories: their own numbers are 50 and 100."""

_MINIATURE_METRICS = ("mini-pickscore", "mini-hps", "mini-imagereward", "mini-aesthetic", "judge")
_METRICS = ("pickscore", "hpsv2", "imagereward", "aesthetic")


@dataclass(frozen=True)
class _Stage:
    """What a table is painted on."""

    pipeline: str
    plain: str
    reward: str
    metrics: tuple[str, ...]
    prompts: str
    n: int
    call: dict[str, Any]
    ours: dict[str, Any]
    """Settings of the method "dymo"."""
    trained: dict[str, dict[str, Any]]
    """Row -> where its trained weights are: unet= or lora=."""
    missing: dict[str, str] = field(default_factory=dict)
    scheduler: str | None = None
    batch: int = 1
    more: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Row -> other settings of the method "dymo" that are worth a row."""

    @property
    def guides(self) -> tuple[str, ...]:
        return (self.reward,)


def _miniature() -> _Stage:
    """The trained rows are there where training/ has made their weights."""
    names = {
        "AlignProp": "align-prop", "Diffusion-DPO": "diffusion-dpo", "Diffusion-KTO": "diffusion-kto", "SPO": "spo",
    }  # fmt: skip
    files = {row: WEIGHTS / "lora" / f"{name}.safetensors" for row, name in names.items()}
    return _Stage(
        "miniature", "unguided", "mini-pickscore", _MINIATURE_METRICS, "miniature", 32,
        dict(MINIATURE_DEFAULTS), {"preset": "fast"},
        {row: {"lora": str(path)} for row, path in files.items() if path.is_file()},
        {row: f"no weights: python -m training.{names[row].replace('-', '_')} makes them" for row, path in files.items() if not path.is_file()}
        | {"PromptOpt (rewriting)": "no language model that knows the miniature's world is in the package"},
        batch=4, more={
            f"{OURS}, full gradient": {"preset": "fast", "settings": {"gradient": "full"}}, THOROUGH: {"preset": "thorough"},
        },
    )  # fmt: skip


def _sd15() -> _Stage:
    return _Stage(
        SD15, "SD1.5", "step-aware-sd15", _METRICS, "pick-a-pic", 500,
        {"num_inference_steps": 50, "guidance_scale": 7.5, "eta": 1.0}, {"preset": "official-sd15"},
        {
            "Diffusion-DPO": {"unet": "mhdang/dpo-sd1.5-text2image-v1"},
            "Diffusion-KTO": {"unet": "jacklishufan/diffusion-kto"},
            "SPO": {"unet": "SPO-Diffusion-Models/SPO-SD-v1-5_4k-p_10ep"},
        },
        {"AlignProp": "no checkpoint of it is known on the hub: give a row with lora: and where yours is"},
        scheduler="ddim",
    )  # fmt: skip


def _sdxl() -> _Stage:
    return _Stage(
        SDXL, "SDXL", "step-aware-sdxl", _METRICS, "pick-a-pic", 500,
        {"num_inference_steps": 50, "guidance_scale": 5.0, "eta": 1.0}, {"preset": "official-sdxl"},
        {
            "Diffusion-DPO": {"unet": "mhdang/dpo-sdxl-text2image-v1"},
            "SPO": {"lora": "SPO-Diffusion-Models/SPO-SDXL_4k-p_10ep_LoRA"},
        },
        scheduler="ddim",
    )  # fmt: skip


def table(
    number: int, pipeline: str = "miniature", prompts: int | None = None, seeds: Sequence[int] = (0,),
    call: dict[str, Any] | None = None,
) -> Plan:  # fmt: skip
    """The plan of the paper's table `number` on "miniature", or on the hub id or folder of an SD1.5 or SDXL.

    Tables 1, 3 and 4 are SD1.5's, table 2 is SDXL's. prompts: how many; by default 32 on the miniature, else the paper's
    500. call: over the table's own arguments of the pipeline; budgets follow its steps. Raises ConfigError on another
    number.
    """
    if number not in TABLES:
        raise ConfigError(f"--table {number}: choose one of {', '.join(map(str, TABLES))}")
    stage = _miniature() if pipeline == "miniature" else _sdxl() if number == 2 else _sd15()
    stage = replace(stage, call={**stage.call, **(call or {})})
    build = {1: _systems, 2: _together, 3: _ablation, 4: _recurrences}[number]
    rows, missing, notes = build(stage)
    on = "the miniature" if pipeline == "miniature" else pipeline
    return Plan(
        rows=tuple(rows), prompts=tuple(load_prompts(stage.prompts, prompts or stage.n)), seeds=tuple(seeds),
        metrics=stage.metrics, pipeline=pipeline, reward=stage.reward, call=stage.call, scheduler=stage.scheduler,
        guides=stage.guides, batch=stage.batch, versus=next((row.name for row in rows if row.name.startswith(OURS)), None),
        title=f"Table {number} on {on}", left_out=missing, notes=tuple(notes),
        paper={} if pipeline == "miniature" else PAPER[number],
    )  # fmt: skip


_Built = tuple[list[Row], dict[str, str], list[str]]


def _systems(stage: _Stage) -> _Built:
    """Table 1, and the rows it leaves out: best-of-N at our own compute, ReNO, FK-steering, Attend-and-Excite."""
    steps = stage.call["num_inference_steps"]
    climbing = {"evaluations": TRAJECTORIES * steps}
    rows = [
        Row(stage.plain),
        Row("DNO", "dno", budget=climbing),
        Row("PromptOpt (embedding)", "embedding", budget=climbing),
        Row("FreeDoM", "freedom"),
        *(Row(name, **weights) for name, weights in stage.trained.items()),
        Row(OURS, "dymo", stage.ours),
        *(Row(name, "dymo", settings) for name, settings in stage.more.items()),
        *(Row(f"{name} + DyMO", "dymo", stage.ours, **weights) for name, weights in stage.trained.items()),
        Row("Attend-and-Excite", "attend-excite"),
        Row("ReNO", "reno", budget=climbing),
        Row("FK-steering, 4 particles", "fk-steering", {"k": 4}),
        Row("best of 4", "best-of-n", {"n": 4}),
    ]
    if stage.pipeline == "miniature":
        # What noise in the steps alone is worth, for itself and for us: DNO and FK-steering have it.
        noisy: dict[str, Any] = {"call": {"eta": 1.0}}
        rows.insert(1, Row(f"{stage.plain}, eta 1", **noisy))
        rows += [Row("best of 4, eta 1", "best-of-n", {"n": 4}, **noisy)]
        rows += [
            Row(f"{name}, eta 1", "dymo", s, **noisy)
            for name, s in ((OURS, stage.ours), (THOROUGH, stage.more[THOROUGH]))
        ]
    else:
        rows.insert(3, Row("PromptOpt (rewriting)", "rewrite"))
    for name, method in (("best-of-N", "best-of-n"), ("FK-steering", "fk-steering"), ("ReNO", "reno")):
        rows.append(Row(f"{name}, DyMO's evaluations", method, match=Match(OURS, "evaluations")))
        if method != "fk-steering":
            rows.append(Row(f"{name}, DyMO's seconds", method, match=Match(OURS, "seconds")))
        if THOROUGH in stage.more and method != "reno":
            rows.append(Row(f"{name}, thorough's evaluations", method, match=Match(THOROUGH, "evaluations")))
    if THOROUGH in stage.more:
        rows.append(Row("best-of-N, thorough's seconds", "best-of-n", match=Match(THOROUGH, "seconds")))
    note = (
        f"DNO, ReNO and the embedding's optimisation stop after {TRAJECTORIES} trajectories ({TRAJECTORIES * steps} evaluations), "
        "where their authors take 50 to 100; each is differentiated as well, which the evaluations do not count and the seconds do. "
        "A matched number of evaluations is rounded up to whole trajectories, in the other method's favour. DNO and FK-steering "
        "need noise in the steps (eta 1), whatever the other rows have: what that alone is worth, the rows with eta 1 say."
    )
    return rows, stage.missing, [note]


def _together(stage: _Stage) -> _Built:
    """Table 2: ours on top of the trained weights."""
    steps = stage.call["num_inference_steps"]
    climbing = {"evaluations": TRAJECTORIES * steps}
    rows = [
        Row(stage.plain),
        Row("DNO", "dno", budget=climbing),
        Row("PromptOpt (embedding)", "embedding", budget=climbing),
    ]
    rows += [Row("FreeDoM", "freedom"), Row(f"{stage.plain} + DyMO", "dymo", stage.ours)]
    for name, weights in stage.trained.items():
        rows += [Row(name, **weights), Row(f"{name} + DyMO", "dymo", stage.ours, **weights)]
    if stage.pipeline == "miniature":
        plain = {"SD3.5": "a plain row of another model, on real models alone", "FLUX": "the same"}
        return rows, {**stage.missing, **plain}, []
    # Transformers have neither eta nor DDIM: they are rows of their own, as they come.
    rows += [
        Row("SD V3.5", pipeline="stabilityai/stable-diffusion-3.5-large", call={"eta": None}),
        Row("FLUX", pipeline="black-forest-labs/FLUX.1-dev", call={"eta": None}),
    ]
    return rows, stage.missing, []


def _ablation(stage: _Stage) -> _Built:
    """Table 3: one thing taken away a row."""

    def changed(name: str, **values: Any) -> Row:
        return Row(name, "dymo", {**stage.ours, "settings": values})

    rows = [
        Row(OURS, "dymo", stage.ours),
        changed("without L_A", semantic_weight=0.0),
        changed("without L_R", preference_weight=0.0),
        changed(
            "without w", borders=_merged(stage), borders_by="progress" if "official" in str(stage.ours) else "timestep"
        ),
        changed("without Polyak", **_other_rule(stage)),
        Row(stage.plain),
    ]
    missing = {}
    llm = Row("graphs by a language model", "dymo", {**stage.ours, "parser": "llm"})
    if stage.pipeline == "miniature":
        # The guide there is PickScore's kind: the row is the exchange the other way round.
        rows.insert(-1, Row("with mini-step-aware", "dymo", stage.ours, reward="mini-step-aware"))
        missing = {
            llm.name: "no language model in the package; on this world's captions the rules' graph is the true one, "
            "so that another right parser paints the same pictures",
        }
    else:
        rows += [Row("with PickScore", "dymo", stage.ours, reward="pickscore"), llm]
    notes = [
        "Without w: the middle stage goes to L_A alone, then L_R alone, at the later border. Without Polyak: the other rule, "
        "eta ||eps_cond - eps_uncond|| along the unit gradient (where the preset has that one already: Polyak's is the row).",
    ]
    return rows, missing, notes


def _merged(stage: _Stage) -> tuple[float, float]:
    """Both borders of the stages where the later one is."""
    from ..config import preset

    later = preset(stage.ours["preset"]).borders[1]
    return later, later


def _other_rule(stage: _Stage) -> dict[str, Any]:
    from ..config import preset

    if preset(stage.ours["preset"]).step_rule == "residual":
        return {"step_rule": "polyak"}
    return {"step_rule": "residual", "eta": 0.3, "max_step": 1e9, "damping": 0.0}


def _recurrences(stage: _Stage) -> _Built:
    """Table 4: how often each guided step is taken."""
    rows = [Row(f"{n} a step", "dymo", {**stage.ours, "settings": {"recurrences": n - 1}}) for n in (1, 5, 10)]
    rows += [Row(f"{OURS}, dynamic", "dymo", stage.ours)]
    if THOROUGH in stage.more:
        rows += [Row(f"{THOROUGH}, dynamic", "dymo", stage.more[THOROUGH])]
    rows += [Row(stage.plain)]
    note = "n a step: each guided step is evaluated n times (n - 1 recurrences), as the paper's seconds, which grow by n, suggest."
    return rows, {}, [note]


def _figures(columns: Sequence[str], rows: dict[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
    return {name: dict(zip(columns, values, strict=True)) for name, values in rows.items()}


PAPER: dict[int, dict[str, dict[str, Any]]] = {
    1: _figures(_METRICS, {
        "SD1.5": (20.73, .2341, .1697, 5.337), "DNO": (20.05, .2591, -.3212, 5.597), "PromptOpt": (20.26, .2490, -.3366, 5.465),
        "FreeDoM": (21.96, .2605, .3963, 5.515), "AlignProp": (20.56, .2627, .1128, 5.456),
        "Diffusion-DPO": (20.97, .2656, .2989, 5.594), "Diffusion-KTO": (21.15, .2719, .6156, 5.697),
        "SPO": (21.46, .2671, .2321, 5.702), "DyMO": (23.07, .2755, .7170, 5.831),
    }),
    2: _figures(_METRICS, {
        "SDXL": (21.91, .2602, .7755, 5.960), "DNO": (22.14, .2725, .9053, 6.042), "PromptOpt": (21.98, .2723, .8671, 5.881),
        "FreeDoM": (22.13, .2719, .7722, 5.908), "SDXL + DyMO": (24.90, .2839, 1.074, 6.138),
        "Diffusion-DPO": (22.30, .2741, .9789, 5.891), "Diffusion-DPO + DyMO": (24.46, .2836, 1.049, 6.116),
        "SPO": (22.81, .2778, 1.082, 6.319), "SPO + DyMO": (23.85, .2821, 1.166, 6.278),
    }),
    3: _figures(_METRICS, {
        "without L_A": (22.07, .2546, .6413, 5.686), "without L_R": (20.37, .2418, .1230, 5.426),
        "without w": (22.34, .2656, .6748, 5.708), "without Polyak": (20.61, .2640, .2838, 5.470),
        "with PickScore": (23.38, .2746, .5463, 5.694), "graphs by Llama-3.3": (22.58, .2829, .7048, 5.802),
        "DyMO (graphs by GPT-4)": (23.07, .2755, .7170, 5.831),
    }),
    4: _figures(("pickscore", "seconds"), {
        "1 a step": (20.41, 40), "5 a step": (21.27, 170), "10 a step": (22.85, 295), "DyMO, dynamic": (23.07, 190),
    }),
}  # fmt: skip
