"""What errors and warnings name: in the words of Python, of the command line, of the nodes, and of the page."""

import ast
import copy
import inspect
import pickle
import re
from functools import cache
from pathlib import Path

import pytest

import dymo
from dymo import ConfigError, DyMO
from dymo.comfy.words import words as of_nodes
from dymo.commands.outcome import one_seed
from dymo.commands.schema import Bench, Generate, Graph, Score, Studio
from dymo.commands.words import words_of
from dymo.config import SETTINGS
from dymo.errors import PromptError, PromptWarning, RewardError, Told
from dymo.parts import (
    Argument,
    Code,
    InPython,
    Limit,
    Name,
    Offload,
    OfMethod,
    OfParser,
    OfReward,
    Option,
    Sampler,
    Set,
    Setting,
    Where,
)
from dymo.prompt.reading import read
from dymo.studio.words import words as of_page
from dymo.studio.work import _note
from dymo.trace import Trace

ROOT = Path(dymo.__file__).parent
KEYWORDS = [
    name
    for call in (DyMO.__init__, DyMO.__call__)
    for name, of in inspect.signature(call).parameters.items()
    if name not in ("self", "pipe") and of.kind is not of.VAR_KEYWORD
]
IN_PYTHON_ALONE = {
    # Surface -> the aligner's keywords that it does not offer.
    words_of(Generate): {"objectives", "prompt", "budget", "listeners", "cancel"},
    of_nodes: {"objectives", "budget", "listeners", "cancel"},
    of_page: {"parser", "objectives", "preview_vae", "watch", "on_hacking", "compile", "budget", "listeners", "cancel"},
}


@cache
def sources():
    """Every module of the package, and its tree."""
    return [(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())) for path in sorted(ROOT.rglob("*.py"))]


def texts(tree):
    """Every text of a module but its docstrings, and those of fields; of an f-string its pieces, with {} for what is put in."""
    documentation = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node, "".join(piece.value if isinstance(piece, ast.Constant) else "{}" for piece in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in documentation:
            yield node, node.value


def test_no_text_names_a_setting():
    """It would reach every surface in the words of Python: a message holds a `Setting`."""
    before_colon = "|".join(name for name in SETTINGS if "_" in name)  # others are words of English too
    named = re.compile(rf"(?<![\w-])(?<!--set )(?:{'|'.join([*SETTINGS, *KEYWORDS])})=|Budget\(\w+=|^(?:{before_colon}): ")
    found = []
    for path, tree in sources():
        raised = {node for one in ast.walk(tree) if isinstance(one, ast.Raise) for node in ast.walk(one)}
        for node, text in texts(tree):
            if named.search(text) or ("{}=" in text and node in raised):
                found.append(f"{path}:{node.lineno}: {text}")
    assert found == []


def test_an_error_in_another_stays_a_message():
    """As text, f"{error}" or str(error), it would lose what it names."""
    own = {name for name in vars(dymo.errors) if name.endswith("Error")}
    found = []
    for path, tree in sources():
        for handler in (node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.type is not None):
            kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
            if not {ast.unparse(kind) for kind in kinds} <= own:
                continue
            raised = [node for one in ast.walk(handler) if isinstance(one, ast.Raise) for node in ast.walk(one)]
            as_text = (ast.unparse(node.value) for node in raised if isinstance(node, ast.FormattedValue))
            calls = (ast.unparse(node) for node in raised if isinstance(node, ast.Call))
            if {handler.name, f"str({handler.name})"} & {*as_text, *calls}:
                found.append(f"{path}:{handler.lineno}")
    assert found == []


@pytest.mark.parametrize(("words", "lacks"), IN_PYTHON_ALONE.items(), ids=["options", "nodes", "page"])
def test_every_surface_has_words_for_every_setting(words, lacks):
    said = {name: words(Setting(name, 3)) for name in [*SETTINGS, *KEYWORDS]}
    not_shown = {"record_maps"} if words is of_page else set()
    assert {name for name, text in said.items() if text is None} == lacks | not_shown
    assert not any(text == str(Setting(name, 3)) for name, text in said.items())


def test_a_message_keeps_what_it_names_and_where_it_came_from():
    inner = ConfigError(Setting("eta", (1, "x")), ": give 3 numbers")
    error = ConfigError("row 'a': ", inner, (", or ", Set(Setting("scouts", 0))))
    assert str(error) == "row 'a': eta=(1, 'x'): give 3 numbers, or set scouts=0"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is ConfigError and again.parts == error.parts
    known = error.in_words(lambda part: "eta:" if part == Setting("eta", (1, "x")) else None)
    assert str(known) == "row 'a': eta:: give 3 numbers, or set scouts=0" and Set(Setting("scouts", 0)) in known.parts
    assert str(PromptWarning("Give ", Setting("graph")).in_words(words_of(Generate))) == "Give --graph"


def test_an_error_is_one_text_to_whoever_catches_it():
    error = ConfigError(Setting("eta", 2), ": give 3 numbers")
    assert error.args == ("eta=2: give 3 numbers",) and repr(error) == "ConfigError('eta=2: give 3 numbers')"


def test_an_error_of_another_package_can_be_said_by_every_surface():
    class Refused(RewardError):
        def __init__(self, code, why):
            super().__init__(f"{code}: {why}; give ", OfReward("source"))
            self.code = code

    error = Refused(401, "no key")
    error.add_note("of the server")
    said = error.in_words(lambda part: "--source")
    assert type(said) is Refused and (str(said), said.code, said.__notes__) == ("401: no key; give --source", 401, ["of the server"])


def test_a_lora_in_a_prompt_is_put_in_by_what_the_surface_has():
    with pytest.raises(PromptError) as raised:
        read("<lora:x:1> cat").check()
    told = [str(raised.value.in_words(words)).partition("leave it out")[2] for words in (words_of(Generate), words_of(Graph), of_page)]
    assert told == [", and put them in by --lora FILE:0.8", "", ""]


def test_the_words_of_python():
    parts = [
        Setting("listeners", Code("[print]")), Setting("graph"), Name(Argument("num_inference_steps")), Limit("seconds", 20), Limit("evaluations"),
        Sampler("DDIMScheduler"), Offload("model"), Option("preview_vae", "x"), Where(" with ", OfReward("source")), InPython("a function", "a file"),
    ]  # fmt: skip
    assert list(map(str, parts)) == [
        "listeners=[print]", "graph=", "num_inference_steps", "Budget(seconds=20)", "Budget(evaluations=)",
        "pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)", "enable_model_cpu_offload()", "--preview-vae x", " with source=",
        "a function",
    ]  # fmt: skip


SAME = "as in Python"
"""What a surface has no words for."""


@pytest.mark.parametrize(
    ("part", "option", "widget", "label"),
    [
        (Setting("borders", (800.0, 500.0)), "--set borders=[800.0,500.0]", 'settings {"borders": [800.0, 500.0]}', "borders (800.0, 500.0)"),
        (Setting("k", -1), "--set k=-1", 'settings {"k": -1}', "k -1"),
        (Setting("truncation", "report"), "--truncation report", 'settings {"truncation": "report"}', "truncation 'report'"),
        (Setting("watch", ["hpsv2.1", "aesthetic"]), "--watch hpsv2.1 --watch aesthetic", 'settings {"watch": ["hpsv2.1", "aesthetic"]}', SAME),
        (Setting("compile", "graphs"), "--graphs", 'settings {"compile": "graphs"}', SAME),
        (Setting("compile", True), "--compile", 'settings {"compile": true}', SAME),
        (Setting("parser", "llm"), "--parser llm", 'settings {"parser": "llm"}', SAME),
        (Setting("preview_vae"), "--preview-vae", "preview_vae", SAME),
        (Set(Setting("semantic_weight", 0)), "add --set semantic_weight=0", 'give settings {"semantic_weight": 0}', "set semantic weight 0"),
        (Argument("guidance_scale"), "--guidance-scale", "guidance_scale", "Guidance scale"),
        (Argument("use_pe", False), "--pipeline-kwargs '{\"use_pe\": false}'", SAME, SAME),
        (Argument("latents"), SAME, SAME, SAME),
        (Name(Argument("num_inference_steps")), "--steps", "steps", "Steps"),
        (Name(Setting("eta")), SAME, SAME, "eta"),
        (Limit("evaluations", 9), "--budget-evaluations 9", "evaluations 9", "Budget 9"),
        (Limit("seconds"), "--budget-seconds", SAME, "Seconds at most"),
        (Sampler("DDIMScheduler"), "--scheduler DDIMScheduler", "scheduler DDIMScheduler", SAME),
        (Offload("sequential"), "--offload sequential", "offload sequential", SAME),
        (OfParser("model"), "--parser-model", SAME, SAME),
        (OfParser("tokenizer"), SAME, SAME, SAME),
        (OfMethod("k", 4), SAME, SAME, SAME),
        (Where(", with ", OfReward("source")), "", "", ""),
        (InPython("a function", "a file"), "a file", "a file", "a file"),
    ],
)
def test_the_words_of_each_surface(part, option, widget, label):
    said = [words(part) for words in (words_of(Generate), of_nodes, of_page)]
    assert said == [None if text is SAME else text for text in (option, widget, label)]


def test_what_a_record_keeps_of_a_message_is_a_text_that_a_surface_says_in_its_own_words():
    message = ConfigError("with ", Setting("scouts", 3), " lower ", Limit("evaluations", 9))
    told = Told(str(message), message.parts)
    trace = copy.deepcopy(Trace(one_seed=told))
    assert trace.one_seed == "with scouts=3 lower Budget(evaluations=9)" == Trace.from_json(trace.to_json()).one_seed
    assert _note(trace) == "no further seeds were begun: with scouts 3 lower Budget 9"
    assert one_seed(trace) == ["  no further seeds were begun: with --set scouts=3 lower --budget-evaluations 9"]


def test_a_command_has_words_for_its_own_options_alone():
    assert words_of(Bench)(Setting("k", -1)) is None and words_of(Bench)(Setting("truncation", "report")) is None
    assert words_of(Bench)(Option("config", "x")) == "--pipeline-config x" and words_of(Bench)(Option("model", "x")) == "--pipeline x"
    assert words_of(Studio)(Option("model", "x")) == "--model x" and words_of(Graph)(OfParser("tokenizer")) is None
    assert words_of(Score)(Where(" with ", OfReward("source"))) == " with --source"
