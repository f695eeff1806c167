"""What the commands share: one text and one default an option, and what its value means here."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from peftcorr.cli import make_parser
from peftcorr.commands.options import OUTPUT, cache_folder, data_roots
from tests.commanding import PROJECT


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PEFTCORR_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/peftcorr")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "peftcorr"
    monkeypatch.setenv("PEFTCORR_CACHE", "/elsewhere")
    assert cache_folder() == Path("/elsewhere")


def test_roots_by_name_and_one_for_the_rest() -> None:
    assert data_roots(["spair71k=/a", "/b", "pairs=~/c=d"]) == {
        "spair71k": Path("/a"), "": Path("/b"), "pairs": Path.home() / "c=d",
    }  # fmt: skip


def test_every_output_is_the_same_folder_which_git_ignores() -> None:
    [commands] = [a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    outputs = {
        name: action.default
        for name, parser in commands.choices.items()
        for action in parser._actions
        if action.dest == "output"
    }
    writing = {
        "run", "compare", "breakdown", "tune-predictor", "compile", "export", "match", "show", "demo", "push", "submit",
        "reproduce", "reproduce-table",
    }  # fmt: skip
    assert set(outputs) == writing
    assert set(outputs.values()) == {OUTPUT}
    assert not OUTPUT.is_absolute()
    assert f"/{OUTPUT}/" in (PROJECT / ".gitignore").read_text(encoding="utf-8").splitlines()
