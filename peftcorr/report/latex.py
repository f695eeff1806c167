"""The leaderboard as LaTeX: the tables of the page, for a paper that loads booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from peftcorr.console import numbers
from peftcorr.console.numbers import Spread
from peftcorr.errors import visible
from peftcorr.report.board_tables import BoardTable, board_tables, shown_alphas, strategy_name
from peftcorr.report.leaderboard import Board, Leaderboard, Section

_INTRODUCTION = r"""% Made by peftcorr compile --latex from records/*.json. Needs \usepackage{booktabs}.
% PCK per keypoint in percent: of several seeds the mean and the standard deviation; at the threshold that ranks with
% the 95 % interval, which of several seeds is over seeds and images. Bold is the best of a column. Gain is the
% difference to the frozen backbone in points.
"""
_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}", "-": "{-}",
    "[": "{[}", "]": "{]}", "*": "{*}",
}  # fmt: skip
_MISSING = "--"


def latex(leaderboard: Leaderboard) -> str:
    """Return a ``table`` for each table of the Markdown page, the same rows in the same order.

    What TeX would take for a command in a name of others is escaped, and control characters are written out.
    """
    parts = [_INTRODUCTION]
    for section in leaderboard.sections:
        for board in section.boards:
            parts += [_table(section, board, part) for part in board_tables(board)]
    return "\n".join(parts)


def escaped(text: str) -> str:
    """A text that TeX sets as it is; minus signs, brackets and stars too, which mean something after some commands."""
    return "".join(_ESCAPES.get(letter, letter) for letter in visible(text))


def _table(section: Section, board: Board, part: BoardTable) -> str:
    alphas = shown_alphas(board)
    columns = [
        _emphasised([row.per_keypoint.get(alpha) for row in part.rows], alpha == board.ranked_by)
        for alpha in alphas
    ]
    header = ["Strategy", "Parameters", *(f"PCK@{alpha}" for alpha in alphas), "Gain"]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(f'{section.title}, {board.predictor}: {part.title}')}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        r"\toprule",
        rf"{' & '.join(header)} \\",
        r"\midrule",
    ]
    for row, *scores in zip(part.rows, *columns, strict=True):
        gain = _MISSING if row.gain is None else f"${numbers.signed(row.gain)}$"
        count = _MISSING if row.trainable is None else numbers.count(row.trainable)
        lines.append(rf"{' & '.join([escaped(strategy_name(row)), count, *scores, gain])} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _emphasised(column: Sequence[Spread | None], with_interval: bool) -> list[str]:
    """A column's cells, the best in bold where there are several."""
    shown = [None if value is None else f"{value.mean:.2f}" for value in column]
    known = [float(one) for one in shown if one is not None]
    cells = []
    for value, mean in zip(column, shown, strict=True):
        if value is None or mean is None:
            cells.append(_MISSING)
            continue
        best = len(known) > 1 and float(mean) == max(known)
        beside = "" if value.sd is None else rf" $\pm$ {value.sd:.2f}"
        if with_interval and value.interval is not None:
            beside += f" {{{numbers.limits(value.interval)}}}"
        cells.append((rf"\textbf{{{mean}}}" if best else mean) + beside)
    return cells
