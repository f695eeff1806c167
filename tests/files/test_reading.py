"""What others wrote is read without waiting, and without end is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from peftcorr.errors import PeftCorrError
from peftcorr.files import read_json, sha256
from peftcorr.files.reading import MARK, parse_json, parse_yaml, read_bytes

LAUGHS = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
MERGED = "b0: &b0 {x: 1}\n" + "".join(
    f"b{n}: &b{n} {{<<: [{', '.join([f'*b{n - 1}'] * 10)}]}}\n" for n in range(1, 10)
)


@pytest.mark.parametrize("kind", ["pipe", "folder", "dangling link", "loop"])
def test_what_is_no_plain_file_is_no_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere" if kind == "dangling link" else path)
    with pytest.raises(PeftCorrError, match=r"^Cannot read .*/it: [^.]+\.$"):
        read_bytes(path)
    with pytest.raises(OSError, match="it"):
        sha256(path)
    with pytest.raises(OSError, match="it"):
        read_json(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 5000, "nested too deeply"),
        ("[" * 100 + "]" * 100, "nested too deeply"),
        ("{a: " * 100 + "1" + "}" * 100, "nested too deeply"),
        (LAUGHS, "stands for more than 100,000 values"),
        (MERGED, "stands for more than 100,000 values"),
        ("a: &a [*a]", "nested too deeply"),
        (
            "a: &a " + "[" * 40 + "]" * 40 + "\nb: &b " + "[" * 40 + "*a" + "]" * 40,
            "nested too deeply",
        ),
        ("a: " + "9" * 5000, "more than 100 digits"),
        ("a: 0x" + "f" * 5000, "more than 100 digits"),
        ("a: 2020-13-45", "not what its tag says"),
        ('a: !!int ""', "not what its tag says"),
        ("a: !!timestamp x", "not what its tag says"),
        ("a: !!bool x", "not what its tag says"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("\x1b[31m", "unacceptable character"),
        ("a: [", "expected the node content"),
    ],
)
def test_yaml_without_end_or_sense_is_refused_in_a_few_words(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        parse_yaml(text)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def test_aliases_of_a_sane_recipe_are_read() -> None:
    assert parse_yaml("a: &a {x: 1, y: [1, 2]}\nb: *a\nc: {<<: *a, x: 2}") == {
        "a": {"x": 1, "y": [1, 2]},
        "b": {"x": 1, "y": [1, 2]},
        "c": {"x": 2, "y": [1, 2]},
    }
    assert parse_yaml("a: 64.0", yaml.BaseLoader) == {"a": "64.0"}
    assert parse_yaml("") is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 5000, "."),
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        ('{"a": ' * 80 + "1" + "}" * 80, "nested too deeply"),
        ("9" * 5000, "digits"),
        (b"\xff", "decode"),
        ("{", "Expecting"),
    ],
)
def test_json_without_end_is_refused(content: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_json(content)


@pytest.mark.parametrize("text", ['{"a": 1}', b'{"a": 1}'])
def test_a_mark_before_json_is_no_part_of_it(text: Any) -> None:
    mark = "\ufeff" if isinstance(text, str) else MARK
    assert parse_json(mark + text) == parse_json(text)


def test_json_of_ours_is_read() -> None:
    assert parse_json('{"a": [{"b": [1, 2.5, null]}]}') == {"a": [{"b": [1, 2.5, None]}]}
