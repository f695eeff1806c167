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
    whole = {(count, score) for count, score in points if count is not None and score is not None}
    front, best = set(), float("-inf")
    for count, score in sorted(whole, key=lambda point: (point[0], -point[1])):
        if score > best:
            front.add((count, score))
            best = score
    return [point in front for point in points]
