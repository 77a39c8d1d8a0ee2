"""Code from outside the package: found by reference or entry point, or the true reason why not."""

from importlib.metadata import EntryPoint

import pytest

from dymo import ConfigError, plugins

GROUP = "dymo.methods"


@pytest.fixture
def install(monkeypatch):
    """Make entry points as installed packages have them."""

    def made(**values):
        points = [EntryPoint(name, value, GROUP) for name, several in values.items() for value in several.split()]
        wanted = lambda group, name=None: [p for p in points if group == GROUP and name in (None, p.name)]  # noqa: E731
        monkeypatch.setattr(plugins, "entry_points", wanted)

    return made


def test_a_file_is_run_once_and_sees_the_files_beside_it(tmp_path):
    (tmp_path / "beside_the_plugin.py").write_text("value = 3\n")
    (tmp_path / "mine.py").write_text(
        "import beside_the_plugin\nruns = []\nclass Mine:\n    value = beside_the_plugin.value\n"
    )
    file = tmp_path / "mine.py"
    assert plugins.load(f"{file}:Mine.value", GROUP) == 3
    assert plugins.load(f"{file}:runs", GROUP) is plugins.load(f"{tmp_path}/../{tmp_path.name}/mine.py:runs", GROUP)


def test_a_dataclass_in_a_file_and_a_module_by_name(tmp_path):
    (tmp_path / "data.py").write_text(
        "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass D:\n    x: int = 1\n"
    )
    assert plugins.load(f"{tmp_path / 'data.py'}:D", GROUP)().x == 1
    assert plugins.load("importlib.metadata:EntryPoint", GROUP) is EntryPoint


def test_entry_points(install):
    install(theirs="fractions:Fraction", broken="no_such_module:x", lost="fractions:Nothing", twice="math:pi math:e")
    from fractions import Fraction

    assert plugins.load("theirs", GROUP) is Fraction
    assert plugins.names(GROUP) == ["broken", "lost", "theirs", "twice", "twice"][:4]
    for name, said in (
        ("broken", r"broken \(no_such_module:x\): .*ModuleNotFoundError: No module named 'no_such_module'"),
        ("lost", "there is no 'Nothing'"),
        ("twice", "stands for several in dymo.methods: give one of math:pi, math:e itself"),
        (
            "their",
            r"no 'their' \(did you mean 'theirs'\?\) in dymo.methods: choose broken, lost, theirs, twice, or give FILE.py",
        ),
    ):
        with pytest.raises(ConfigError, match=said):
            plugins.load(name, GROUP)


@pytest.mark.parametrize(
    "code, name, said",
    [
        (None, "x", "there is no file .*mine.py"),
        ("def reward(): ...", "rewrad", r"there is no 'rewrad' \(did you mean 'reward'\?\); there: reward"),
        ("import no_such_module", "x", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 / 0", "x", "cannot be imported: ZeroDivisionError"),
        ("def (", "x", "cannot be imported: SyntaxError"),
        ("import sys; sys.exit(3)", "x", "cannot be imported: SystemExit: 3"),
    ],
)
def test_the_true_reason_is_said(tmp_path, code, name, said):
    if code is not None:
        (tmp_path / "mine.py").write_text(code)
    for _ in range(2):  # a file that failed is run again, not taken half-run
        with pytest.raises(ConfigError, match=said):
            plugins.load(f"{tmp_path / 'mine.py'}:{name}", GROUP)


@pytest.mark.parametrize(
    "text, is_one", [("a.py:b", True), ("a.b:c.d", True), ("a", False), (r"C:\models\clip", False), ("a/b", False)]
)
def test_what_is_a_reference(text, is_one):
    assert plugins.is_reference(text) == is_one
