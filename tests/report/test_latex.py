from __future__ import annotations

import re
from typing import Any

from peftcorr.report.board_tables import board_tables
from peftcorr.report.latex import escaped, latex
from peftcorr.report.leaderboard import build_leaderboard
from tests.hostile import HOSTILE, PREFIXED, assert_calm

# A backslash begins these alone: commands of ours, and letters that are escaped.
OURS = re.compile(
    r"\\(begin|end|centering|caption|toprule|midrule|bottomrule|textbf|pm|text(backslash|asciitilde|asciicircum|less|"
    r"greater|bar|quotedbl|asciigrave|quotesingle)\{\}|[{}$&%#_]|\\$)",
    re.MULTILINE,
)


def test_a_table_is_what_a_paper_takes(make_record: Any, make_scores: Any) -> None:
    def of(pck: float) -> dict[str, Any]:
        told = {"per_keypoint": {"0.1": [pck - 5.5, pck + 5.25]}}
        return {"synthetic/test": {"argmax": {**make_scores(pck, 900), "intervals": told}}}

    records = [
        make_record("a", "frozen", 20.0, 0),
        *(make_record(f"b{seed}", "lora", 40.0 + seed, seed=seed, scores=of(40.0 + seed)) for seed in (0, 1)),
        make_record("c", "last_k", 61.0, 5000, scores=of(61.0)),
    ]
    lines = latex(build_leaderboard(records)).splitlines()
    start = lines.index(r"\begin{table}")
    assert lines[start:] == [
        r"\begin{table}",
        r"\centering",
        r"\caption{synthetic/test, argmax: tiny, 128 px, trained on synthetic}",
        r"\begin{tabular}{lrrrrr}",
        r"\toprule",
        r"Strategy & Parameters & PCK@0.1 & PCK@0.05 & PCK@0.2 & Gain \\",
        r"\midrule",
        r"last\_k & 5,000 & \textbf{61.00} {[55.5, 66.2]} & \textbf{30.50} & \textbf{91.50} & $+41.00$ \\",
        r"lora, 2 seeds & 1,000 & 40.50 $\pm$ 0.71 {[32.1, 48.7]} & 20.25 $\pm$ 0.35 & 60.75 $\pm$ 1.06 & $+20.50$ \\",
        r"frozen & 0 & 20.00 & 10.00 & 30.00 & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def test_hostile_names_are_set_as_they_are_written(make_record: Any) -> None:
    tex = "\\input{/etc/passwd} \\write18{x} $x^2$ 50% #1 a&b ~ ^^41 \"q\" -- ``x'' * [3pt]"
    records = [
        make_record(
            f"r{number}", name, 50.0 + number, weights_id=f"w{name}", official_weights=False, dataset=name
        )
        for number, name in enumerate((HOSTILE, PREFIXED, tex))
    ]
    leaderboard = build_leaderboard(records)
    text = latex(leaderboard)
    assert_calm(text)
    rest = OURS.sub("", text.partition("\\begin")[2])
    assert "\\" not in rest
    for line in text.splitlines():
        plain = re.sub(r"\\.", "", line)
        assert plain.count("{") == plain.count("}"), line
        assert line.startswith("%") or "%" not in plain, "nothing is a comment"
        assert "$" not in plain.replace("$\\pm$", "").replace("$", "", 2 * bool(re.search(r"\$[+-]", line)))
    [section] = leaderboard.sections
    assert text.count(r"\begin{table}") == len(board_tables(section.boards[0])) == 3


def test_every_letter_that_means_something_is_escaped() -> None:
    assert escaped("a_b") == r"a\_b"
    assert escaped(r"\{") == r"\textbackslash{}\{"
    for letter in "\\{}$&%#_~^":
        assert escaped(letter) != letter
        assert escaped(letter).startswith("\\")
