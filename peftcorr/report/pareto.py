"""The Pareto front of accuracy against trainable parameters."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(parameters: Sequence[int | None], accuracy: Sequence[float | None]) -> list[bool]:
    """Tell for each run whether no other gives at least its accuracy for no more parameters.

    Of two runs that are equal in both, both are on the front. A run that lacks a number is not on it.

    Args:
        parameters: (N,) trainable parameters; fewer is better.
        accuracy: (N,) PCK in percent; more is better.
    """
    points = list(zip(parameters, accuracy, strict=True))

    def beaten(count: int, score: float) -> bool:
        return any(
            other_count is not None
            and other_score is not None
            and other_count <= count
            and other_score >= score
            and (other_count, other_score) != (count, score)
            for other_count, other_score in points
        )

    return [count is not None and score is not None and not beaten(count, score) for count, score in points]
