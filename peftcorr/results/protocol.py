"""What the records of two runs say of how they were scored, and whether that is one protocol."""

from __future__ import annotations

from collections.abc import Sequence

from peftcorr.errors import PeftCorrError
from peftcorr.metrics.presets import PEFTCORR, Preset
from peftcorr.results.record import Record

Records = tuple[Record | None, Record | None]
Names = tuple[str, str]


def check_same_pairs(records: Records, names: Names) -> None:
    """Refuse two runs that were scored on other pairs of a split; another `limit_pairs` that leaves the same is none.

    Args:
        records: of the runs; a run whose record is not there says nothing.
        names: what the error calls the runs.

    Raises:
        PeftCorrError: naming the runs, the split and how many pairs each has.
    """
    first, second = records
    if first is None or second is None:
        return
    for split in _shared(first, second):
        if _counts(first, split) != _counts(second, split):
            said = " and ".join(
                f"{name} on {_counts(record, split)} (limit_pairs: {record.recipe.get('limit_pairs') or 'none'})"
                for name, record in zip(names, (first, second), strict=True)
            )
            raise PeftCorrError(
                f"The records of {names[0]} and {names[1]} say other pairs of {split}: {said} were scored. Run both on "
                "the same data with the same limit_pairs."
            )


def check_seeds(records: Sequence[Record | None], names: Sequence[str]) -> None:
    """Refuse runs as the seeds of one method that are not: the same one twice, or of recipes that differ otherwise.

    Args:
        records: of the runs; a run whose record is not there says nothing.
        names: what the error calls the runs.

    Raises:
        PeftCorrError: naming two runs and what differs.
    """
    again = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if again is not None:
        raise PeftCorrError(f"{again} is named twice as a run of one method: name each of its seeds once.")
    known = [(record, name) for record, name in zip(records, names, strict=True) if record is not None]
    for record, name in known[1:]:
        first, called = known[0]
        differing = sorted(
            key
            for key in {*first.recipe, *record.recipe} - {"seed", "init_from"}
            if first.recipe.get(key) != record.recipe.get(key)
        )
        # Each seed may start from a run of its own, as long as those were trained on the same.
        begun = [[stage.dataset for stage in one.chain] for one in (first, record)]
        if begun[0] != begun[1]:
            differing.append("what the runs that they start from were trained on")
        if differing or first.seed == record.seed:
            what = f"differ in {', '.join(differing)}" if differing else f"have the same seed, {record.seed}"
            raise PeftCorrError(
                f"{called} and {name} are no two seeds of one method: their recipes {what}. Name runs that differ in "
                "their seed alone."
            )


def agreed_preset(records: Records, names: Names) -> Preset:
    """Return the definition of correct that both records follow; peftcorr's own where there is no record.

    Raises:
        PeftCorrError: if they follow two, naming the runs and what differs between the definitions.
    """
    known = [record.protocol for record in records if record is not None]
    if len(known) < 2 or known[0] == known[1]:
        return known[0] if known else PEFTCORR
    first, second = known
    differing = [field for field in Preset.model_fields if getattr(first, field) != getattr(second, field)]
    # Where a definition comes from and what its source publishes matter only when nothing else differs.
    fields = [field for field in differing if field not in ("source", "reports")] or differing
    said = "; ".join(f"{field} {getattr(first, field)} and {getattr(second, field)}" for field in fields)
    raise PeftCorrError(
        f"The records of {names[0]} and {names[1]} follow different protocols ({said}): give --preset to score both "
        "by one."
    )


def agreed_alphas(records: Records, names: Names) -> list[float] | None:
    """Return the thresholds that the records have where both were scored; None where none tells any.

    Raises:
        PeftCorrError: if one has a threshold that the other has not, naming the runs and the threshold.
    """
    first, second = records
    if first is None or second is None:
        known = [record for record in records if record is not None]
        return sorted({alpha for record in known for alpha in _alphas(record, list(record.scores))}) or None
    splits = _shared(first, second)
    ours, theirs = _alphas(first, splits), _alphas(second, splits)
    if ours != theirs:
        alone = " and ".join(
            f"{', '.join(f'{alpha:g}' for alpha in sorted(own - other))} is in {name} alone"
            for name, own, other in ((names[0], ours, theirs), (names[1], theirs, ours))
            if own - other
        )
        raise PeftCorrError(
            f"The records of {names[0]} and {names[1]} have different thresholds: {alone}. Give --alphas to score "
            "both at the same."
        )
    return sorted(ours) or None


def _shared(first: Record, second: Record) -> list[str]:
    return [split for split, scores in first.scores.items() if scores and second.scores.get(split)]


def _counts(record: Record, split: str) -> str:
    scores = next(iter(record.scores[split].values()))
    return f"{scores.n_pairs:,} pairs with {scores.n_keypoints:,} keypoints"


def _alphas(record: Record, splits: list[str]) -> set[float]:
    return {
        float(alpha)
        for split in splits
        for scores in record.scores[split].values()
        for alpha in scores.per_keypoint
    }
