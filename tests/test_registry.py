"""The registry: names, near names, and entries that fail without taking the others with them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from peftcorr import registry as registry_module
from peftcorr.errors import PeftCorrError, PluginFailed, did_you_mean
from peftcorr.registry import Registry, blaming_plugins, load_plugin_file
from peftcorr.strategies import STRATEGIES, Strategy
from peftcorr.strategies.frozen import Frozen


@pytest.fixture
def names() -> Registry[Strategy]:
    """A registry of strategies with nothing in it and no installed plugin."""
    made: Registry[Strategy] = Registry(
        "strategy", "peftcorr.strategies", "peftcorr.strategies.base:Strategy"
    )
    made._scanned = True
    return made


class Distribution:
    name = "somebody-elses"


def install(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str]) -> Registry[Strategy]:
    """A registry with `frozen`, and entry points as installed packages would bring them."""
    found = []
    for name, value in points:
        point = EntryPoint(name, value, "peftcorr.strategies")
        vars(point).update(dist=Distribution())
        found.append(point)
    monkeypatch.setattr(registry_module, "entry_points", lambda group: found)
    made: Registry[Strategy] = Registry(
        "strategy", "peftcorr.strategies", "peftcorr.strategies.base:Strategy"
    )
    made.lazy("frozen", "peftcorr.strategies.frozen:Frozen")
    return made


def test_the_decorator_registers_and_returns_the_class(names: Registry[Strategy]) -> None:
    @names.register("mine")
    class Mine(Frozen):
        """Mine, in one line.

        And more.
        """

    assert names.get("mine") is Mine
    [entry] = names.describe()
    assert (entry.name, entry.summary, entry.error) == ("mine", "Mine, in one line.", None)
    assert entry.origin == Mine.__module__.partition(".")[0]


def test_nothing_is_imported_before_it_is_asked_for(names: Registry[Strategy], tmp_path: Path) -> None:
    names.lazy("slow", "module_that_is_not_there:Slow")
    assert names.names() == ["slow"]
    names.lazy("frozen", "peftcorr.strategies.frozen:Frozen")
    assert names.get("frozen") is Frozen


def test_a_name_is_taken_once(names: Registry[Strategy]) -> None:
    names.register("mine")(Frozen)
    for add in (lambda: names.register("mine")(Frozen), lambda: names.lazy("mine", "a:B")):
        with pytest.raises(PeftCorrError, match=r"'mine' of peftcorr has the name of one that peftcorr"):
            add()
    assert names.get("mine") is Frozen


@pytest.mark.parametrize(("asked", "near"), [("lorra", "lora"), ("adaptfomer", "adaptformer"), ("LORA", "")])
def test_an_unknown_name_is_answered_with_the_nearest(asked: str, near: str) -> None:
    with pytest.raises(PeftCorrError, match=f"Unknown strategy {asked!r}") as caught:
        STRATEGIES.get(asked)
    expected = f"Did you mean {near!r}?" if near else f"Known: {', '.join(STRATEGIES.names())}"
    assert expected in str(caught.value)


def test_did_you_mean() -> None:
    assert did_you_mean("rnak", ["rank", "alpha"]) == " Did you mean 'rank'?"
    assert did_you_mean("zzz", ["rank", "alpha"]) == " Known: alpha, rank."
    assert did_you_mean("zzz", []) == " Known: nothing."


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("module_that_is_not_there:X", "ModuleNotFoundError"),
        ("peftcorr.strategies.frozen:Frost", "AttributeError"),
        ("peftcorr.errors:did_you_mean", r"is no subclass of peftcorr\.strategies\.base\.Strategy"),
        ("peftcorr.recipe:Recipe", "is no subclass of"),
        ("broken_module_of_ours:X", r"ZeroDivisionError: division by zero"),
    ],
)
def test_what_cannot_be_loaded_says_why_and_stays_listed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: str, said: str
) -> None:
    (tmp_path / "broken_module_of_ours.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    names = install(monkeypatch, ("bad", target))
    listed = {entry.name: entry for entry in names.describe()}
    assert listed["frozen"].error is None
    assert listed["bad"].error is not None
    assert listed["bad"].origin == "somebody-elses"
    for _ in range(2):
        with pytest.raises(PeftCorrError, match=f"'bad' of somebody-elses cannot be loaded: .*{said}"):
            names.get("bad")
    assert names.names() == ["frozen"]
    assert names.get("frozen") is Frozen


def test_a_plugin_comes_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    names = install(monkeypatch, ("other", "peftcorr.strategies.lora:Lora"))
    assert names.names() == ["frozen", "other"]
    assert names.get("other").__name__ == "Lora"
    assert {entry.name: entry.origin for entry in names.entries()}["other"] == "somebody-elses"


def test_a_plugin_with_a_taken_name_is_listed_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    names = install(monkeypatch, ("frozen", "peftcorr.strategies.lora:Lora"))
    assert names.get("frozen") is Frozen
    [odd] = [entry for entry in names.describe() if entry.error is not None]
    assert odd.origin == "somebody-elses"
    assert "rename it" in str(odd.error)
    assert names.names() == ["frozen"]


def test_a_decorated_class_must_be_of_the_right_kind(names: Registry[Strategy]) -> None:
    """Said where the plugin is loaded, not as an AttributeError in the middle of a run."""

    def register_and_get() -> None:
        names.register("mine")(Distribution)
        names.get("mine")

    with pytest.raises((PeftCorrError, TypeError), match="no subclass of"):
        register_and_get()


PLUGIN = '''
from peftcorr.strategies import STRATEGIES
from peftcorr.strategies.frozen import Frozen

@STRATEGIES.register("{name}")
class Mine(Frozen):
    """From a file."""
'''


@pytest.fixture
def _forget_plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(STRATEGIES, "_entries", dict(STRATEGIES._entries))
    before = dict(sys.modules)
    yield
    for name in sys.modules.keys() - before.keys():
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.usefixtures("_forget_plugins")
def test_a_plugin_file_registers_what_it_defines(tmp_path: Path) -> None:
    path = tmp_path / "my_methods.py"
    path.write_text(PLUGIN.format(name="from_a_file"))
    load_plugin_file(path)
    assert STRATEGIES.get("from_a_file").__doc__ == "From a file."
    entry = next(entry for entry in STRATEGIES.entries() if entry.name == "from_a_file")
    assert "my_methods" in entry.origin
    assert STRATEGIES.get("lora")


@pytest.mark.usefixtures("_forget_plugins")
def test_a_plugin_file_may_be_called_what_it_likes(tmp_path: Path) -> None:
    """A file ``json.py`` must not become the json of everything imported later."""
    import json

    path = tmp_path / "json.py"
    path.write_text(PLUGIN.format(name="from_json"))
    load_plugin_file(path)
    assert sys.modules["json"] is json
    assert STRATEGIES.get("from_json")


@pytest.mark.usefixtures("_forget_plugins")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        ("def", "cannot be imported: SyntaxError"),
        ("import module_that_is_not_there", "cannot be imported: ModuleNotFoundError"),
        (PLUGIN.format(name="lora"), "has the name of one that peftcorr registered already"),
    ],
)
def test_a_plugin_file_that_fails(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "bad_plugin.py"
    path.write_text(content)
    with pytest.raises(PeftCorrError, match=said) as caught:
        load_plugin_file(path)
    assert "\n" not in str(caught.value)
    assert not any("bad_plugin" in name for name in sys.modules)


def test_a_plugin_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.py", tmp_path):
        with pytest.raises(PeftCorrError, match="there is no such file"):
            load_plugin_file(path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(PeftCorrError, match="not a Python file"):
        load_plugin_file(tmp_path / "notes.txt")


def test_a_family_makes_the_classes_of_its_names(names: Registry[Strategy], tmp_path: Path) -> None:
    names.family("+", f"{__name__}:pair_of")
    made = names.get("this+that")
    assert issubclass(made, Frozen)
    assert made.__name__ == "this+that"
    assert names.names() == []  # there is no end of them
    with pytest.raises(PeftCorrError, match="not two names"):
        names.get("this+that+other")
    with pytest.raises(PeftCorrError, match="Unknown strategy 'this'"):
        names.get("this")


def pair_of(name: str) -> type[Strategy]:
    if name.count("+") != 1:
        raise PeftCorrError("not two names")
    return type(name, (Frozen,), {})


FAILING = """
import sys
from peftcorr.strategies import STRATEGIES
from peftcorr.strategies.frozen import Frozen


@STRATEGIES.register("{name}")
class Plugin(Frozen):
    \"\"\"Fails when it is asked.\"\"\"

    def learning_rate(self):
        {body}
"""


def loaded(tmp_path: Path, name: str, body: str) -> type[Strategy]:
    file = tmp_path / f"{name}.py"
    file.write_text(FAILING.format(name=name, body=body), encoding="utf-8")
    load_plugin_file(file)
    return STRATEGIES.get(name)


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        (
            "divides",
            "return 1 / 0",
            r"A plugin failed: ZeroDivisionError: division by zero \(\S+divides\.py, line 12\)\.",
        ),
        ("exits", "sys.exit()", r"A plugin failed: it calls sys\.exit \(\S+exits\.py, line 12\)\."),
        (
            "exits_well",
            "sys.exit(0)",
            r"A plugin failed: it calls sys\.exit: 0 \(\S+exits_well\.py, line 12\)\.",
        ),
        (
            "asks_torch",
            "import torch; torch.eye(2) @ torch.eye(3)",
            r"RuntimeError: .* \(\S+asks_torch\.py, line 12\)",
        ),
    ],
)
def test_an_error_inside_a_plugin_names_its_line(
    tmp_path: Path,
    name: str,
    body: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cls = loaded(tmp_path, name, body)
    for debug in ("", "1"):
        monkeypatch.setenv("PEFTCORR_DEBUG", debug)
        with pytest.raises(PluginFailed, match=said), blaming_plugins():
            cls(cls.Config()).learning_rate()
        assert ("Traceback" in capsys.readouterr().err) is bool(debug)


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("error", ["MemoryError()", "KeyboardInterrupt()", "PeftCorrError('mend this')"])
def test_what_is_not_the_plugins_fault_passes(tmp_path: Path, error: str) -> None:
    name = error.partition("(")[0].lower()
    cls = loaded(tmp_path, name, f"from peftcorr.errors import PeftCorrError; raise {error}")
    with pytest.raises((MemoryError, KeyboardInterrupt, PeftCorrError)) as caught, blaming_plugins():
        cls(cls.Config()).learning_rate()
    assert type(caught.value).__name__ == error.partition("(")[0]


@pytest.mark.usefixtures("plugins")
def test_an_error_of_ours_below_a_plugin_is_ours(tmp_path: Path) -> None:
    cls = loaded(tmp_path, "asks_us", "from peftcorr.errors import nearest; return nearest(None, ['a'])")
    with pytest.raises(TypeError), blaming_plugins():
        cls(cls.Config()).learning_rate()


def test_a_file_that_exits_is_a_broken_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "leaving.py"
    file.write_text("x = 1\nraise SystemExit\n", encoding="utf-8")
    with pytest.raises(
        PeftCorrError, match=r"cannot be imported: it calls sys\.exit \(\S+leaving\.py, line 2\)"
    ):
        load_plugin_file(file)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = install(monkeypatch, ("left", "leaving:Left"))
    assert registry.names() == ["frozen", "left"]
    with pytest.raises(
        PeftCorrError, match=r"cannot be loaded: it calls sys\.exit \(\S+leaving\.py, line 2\)"
    ):
        registry.get("left")
