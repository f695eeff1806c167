"""What a sentence quotes of others stays short, on one line and without effect."""

from __future__ import annotations

import pytest

from peftcorr.errors import PeftCorrError, did_you_mean, nearest, reason, shortened, shown, told, visible


def test_control_characters_are_written_out() -> None:
    assert visible("a\x1b[31m\x07\n\u202e\ud800é€") == "a\\x1b[31m\\x07\\n\\u202e\\ud800é€"


@pytest.mark.parametrize("value", ["x" * 5000, b"x" * 5000, list(range(5000)), {"a": "x" * 5000}, 10**4000])
def test_a_value_is_cut(value: object) -> None:
    assert len(shown(value)) == 60
    assert shown(value).endswith("…")


def test_a_short_value_is_whole() -> None:
    assert shown("x" * 58) == repr("x" * 58)
    assert shown([1, "a"]) == "[1, 'a']"


def test_what_has_no_text_is_named_by_its_kind() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(deep) == "a huge list"
    assert shown(10**5000) == "a huge int"
    while deep:  # taken apart one by one: the interpreter's own way down is as deep
        deep = deep.pop()  # type: ignore[assignment]


def test_a_reason_is_one_line() -> None:
    assert reason(ValueError("two\nlines\x1b")) == "two lines\\x1b"
    assert len(reason(ValueError("x " * 5000))) == 200
    assert reason(ValueError()) == "ValueError"
    assert shortened("abc", 2) == "a…"


def test_what_went_wrong_is_bounded() -> None:
    """It stands in the record, in the terminal and in the page of a sweep."""
    assert told(PeftCorrError("our own words")) == "our own words"
    assert told(KeyError("a\nb")) == "KeyError: 'a\\nb'"
    long = told(RuntimeError("x\n\x1b " * 50_000))
    assert len(long) == len("RuntimeError: ") + 200
    assert long.isprintable()
    for error in (MemoryError("x" * 5000), RuntimeError("y" * 5000 + " can't allocate memory")):
        assert told(error).startswith(f"Out of memory ({type(error).__name__}: ")
        assert len(told(error)) < 400


def test_suggestions_are_bounded() -> None:
    known = [f"name-{number:05d}-{'x' * 100}" for number in range(5000)]
    listed = did_you_mean("?" * 5000, known)
    assert len(listed) < 4000
    assert listed.endswith(" and 4,940 more.")
    assert nearest("lora\x1b", ["lora"]) == " Did you mean 'lora'?"
