"""From records to the rows of the leaderboard: what is compared with what, and in what order."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from peftcorr.console.numbers import MISSING, Spread
from peftcorr.metrics.presets import Aggregate
from peftcorr.metrics.scores import Scores
from peftcorr.metrics.seeds import interval_from_records
from peftcorr.report.configuration import (
    Configuration,
    backbone_label,
    configurations_of,
    image_size,
    is_trained,
    method,
    pair_limit,
    trained_on,
    untrained_input,
)
from peftcorr.report.further import further_of
from peftcorr.report.pairs import Pairs, data_label, definition_label, pairs_of
from peftcorr.report.pareto import pareto_front
from peftcorr.report.parts import part_spreads
from peftcorr.report.tracking import Tracked, tracked, tracking_of
from peftcorr.results.record import Record

RANKING_ALPHA = "0.1"
_DEFAULT_PREDICTOR = "argmax"
SAME = 1e-9  # points of PCK


@dataclass(frozen=True)
class Row:
    """One configuration on one board. PCK in percent by threshold, mean over `seeds`.

    `dataset` is what was trained on by its name alone, empty where nothing was; `parts` has PCK on what the training
    was and was not shown, by part and aggregate (``unseen_keypoints_per_image``).
    `start` is what its untrained backbone was given (`untrained_input`); `gain` is how far its PCK at the threshold
    that ranks is above the frozen backbone's with the same start, in points: None for that backbone itself, and where
    it was not run or its runs do not agree.
    """

    strategy: str
    label: str
    backbone: str
    image_size: int | None
    trained_on: str
    trainable: int | None
    total: int | None
    per_keypoint: dict[str, Spread]
    per_image: dict[str, Spread]
    category_mean_per_keypoint: dict[str, Spread]
    category_mean_per_image: dict[str, Spread]
    train_seconds: float | None
    peak_memory: int | None
    adapter_bytes: int | None
    seeds: tuple[int, ...]
    run_ids: tuple[str, ...]
    start: str
    dataset: str = ""
    parts: Mapping[str, Mapping[str, Spread]] = field(default_factory=dict)
    tracking: tuple[Tracked, ...] = ()
    further: Mapping[str, Spread] = field(
        default_factory=dict
    )  # per keypoint, by name, at the threshold that ranks
    on_front: bool = False
    gain: float | None = None
    scored: tuple[str, ...] = ()  # the run of each seed that the scores are from

    @property
    def is_frozen(self) -> bool:
        """Whether nothing was trained."""
        return self.trained_on == MISSING


@dataclass(frozen=True)
class Board:
    """The rows that one predictor gives on one section, best first."""

    predictor: str
    alphas: tuple[str, ...]
    ranked_by: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Section(Pairs):
    """One split of one dataset, or one subset of it, scored by one definition, with a board per predictor."""

    title: str
    subset: bool
    boards: tuple[Board, ...]
    traced: bool = True  # whether the records say what they were made from
    versions: bool = False  # whether other annotation or images of the split were scored too

    @property
    def pairs(self) -> Pairs:
        """What its boards' scores are of."""
        return Pairs(**{one.name: getattr(self, one.name) for one in fields(Pairs)})


@dataclass(frozen=True)
class Leaderboard:
    """Everything that a report shows."""

    sections: tuple[Section, ...]
    runs: tuple[tuple[str, Record], ...]  # label and record of every run that ended well
    failed: tuple[Record, ...]


def build_leaderboard(records: Sequence[Record]) -> Leaderboard:
    """Arrange records into sections, boards and rows; the order of `records` does not matter."""
    records = sorted(records, key=lambda record: record.run_id)
    well = [record for record in records if record.status == "ok"]
    # What a record of version 1 was made from is not known: it is no seed of a configuration of later ones.
    later, first = ([r for r in well if (r.schema_version == 1) is old] for old in (False, True))
    sections: list[Section] = []
    runs: list[tuple[str, Record]] = []
    for version in (later, first):
        configurations = configurations_of(version)
        runs += [(c.label, record) for c in configurations for record in c.records]
        apart = ", records of version 1" if version is first and later else ""
        sections += [
            replace(section, title=section.title + apart, traced=version is later)
            for section in _scored(configurations)
        ]
    return Leaderboard(
        sections=tuple(sections),
        runs=tuple(sorted(runs, key=lambda run: (run[0], run[1].backbone, run[1].dataset, run[1].run_id))),
        failed=tuple(record for record in records if record.status == "failed"),
    )


def _scored(configurations: Sequence[Configuration]) -> tuple[Section, ...]:
    """The sections of some configurations."""
    rows: dict[Pairs, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    whole: dict[Pairs, bool] = defaultdict(bool)
    for configuration in configurations:
        for (pairs, predictor), samples in _samples(configuration).items():
            rows[pairs][predictor].append(_row(configuration, samples, pairs, predictor))
            limit = pair_limit(samples[0][0])
            tracking = tracking_of(samples[0][0], pairs.dataset, predictor)
            # Pairs that show none of the tracked points have no PCK, and still count to the limit.
            asked = pairs.n_pairs if tracking is None else tracking.n_pairs
            whole[pairs] |= limit is None or limit > asked
    return _sections(rows, whole)


def _sections(rows: dict[Pairs, dict[str, list[Row]]], whole: dict[Pairs, bool]) -> tuple[Section, ...]:
    full: dict[tuple[str, str], int] = {}
    digests: dict[str, set[str]] = defaultdict(set)
    for pairs in rows:
        digests[pairs.dataset].add(pairs.digest)
        if whole[pairs]:
            split = (pairs.dataset, pairs.digest)
            full[split] = max(full.get(split, 0), pairs.n_pairs)

    def order(pairs: Pairs) -> tuple[str, str, str, int, int]:
        data = data_label(pairs) if len(digests[pairs.dataset]) > 1 else ""
        return (pairs.dataset, definition_label(pairs), data, -pairs.n_pairs, -pairs.n_keypoints)

    sections = []
    for pairs in sorted(rows, key=order):
        split = (pairs.dataset, pairs.digest)
        subset = not whole[pairs] or pairs.n_pairs < full[split]
        title = ", ".join(filter(None, order(pairs)[:3]))
        if subset:
            of = f" of {full[split]:,}" if split in full else ""
            title += f", subset: {pairs.n_pairs:,}{of} pairs"
        if any(replace(other, n_keypoints=pairs.n_keypoints) == pairs != other for other in rows):
            title += f", {pairs.n_keypoints:,} keypoints"
        boards = tuple(_board(predictor, rows[pairs][predictor]) for predictor in sorted(rows[pairs]))
        versions = len(digests[pairs.dataset]) > 1
        sections.append(Section(**vars(pairs), title=title, subset=subset, boards=boards, versions=versions))
    return tuple(sections)


def shown_board(section: Section) -> Board:
    """Return the board that stands for a section in figures and transfer matrices: argmax when there is one."""
    named = [board for board in section.boards if board.predictor == _DEFAULT_PREDICTOR]
    return (named or list(section.boards))[0]


def ranking_alpha(alphas: Sequence[str]) -> str:
    """Return which of some thresholds, in their order, ranks: a tenth when it is there, else the middle one."""
    return RANKING_ALPHA if RANKING_ALPHA in alphas or not alphas else alphas[len(alphas) // 2]


def _board(predictor: str, rows: Sequence[Row]) -> Board:
    alphas = sorted({alpha for row in rows for alpha in row.per_keypoint}, key=float)
    ranked_by = ranking_alpha(alphas)
    frozen: dict[str, list[float]] = defaultdict(list)

    def accuracy(row: Row) -> float | None:
        spread = row.per_keypoint.get(ranked_by)
        return None if spread is None else spread.mean

    def gain(row: Row) -> float | None:
        own, starts = accuracy(row), frozen[row.start]
        if row.is_frozen or own is None or not starts or max(starts) - min(starts) >= SAME:
            return None
        return own - starts[0]

    for row in rows:
        if row.is_frozen and (score := accuracy(row)) is not None:
            frozen[row.start].append(score)
    front = pareto_front([row.trainable for row in rows], [accuracy(row) for row in rows])
    ranked = sorted(
        (replace(row, on_front=one, gain=gain(row)) for row, one in zip(rows, front, strict=True)),
        key=lambda row: (-(accuracy(row) or 0.0), row.trainable or 0, row.label, row.backbone, row.run_ids),
    )
    return Board(predictor, tuple(alphas), ranked_by, tuple(ranked))


def _samples(configuration: Configuration) -> dict[tuple[Pairs, str], list[tuple[Record, Scores]]]:
    """Return one scored run per seed for all that the configuration was scored on."""
    found: dict[tuple[Pairs, str], dict[int | None, tuple[Record, Scores]]] = defaultdict(dict)
    for record in configuration.records:
        seed = record.seed if is_trained(record) else None
        for dataset, predictors in record.scores.items():
            for predictor, scores in predictors.items():
                per_seed = found[pairs_of(record, dataset, scores), predictor]
                kept = per_seed.get(seed)
                if kept is None or _told(scores) > _told(kept[1]):
                    per_seed[seed] = (record, scores)
    return {key: list(per_seed.values()) for key, per_seed in found.items()}


def _told(scores: Scores) -> tuple[int, bool]:
    """How much scores say: thresholds, then whether they have intervals."""
    return len(scores.per_keypoint), bool(scores.intervals)


def _row(
    configuration: Configuration, samples: Sequence[tuple[Record, Scores]], pairs: Pairs, predictor: str
) -> Row:
    dataset = pairs.dataset
    runs = [
        record
        for record in configuration.records
        if record.protocol == pairs.protocol and not _elsewhere(record, pairs, predictor)
    ]
    records = [record for record, _ in samples]
    first = records[0]
    costs = [record.cost for record in records if record.cost is not None]
    by_seed = [scores for _, scores in samples]
    return Row(
        strategy=method(first),
        label=configuration.label,
        backbone=backbone_label(first),
        image_size=image_size(first),
        trained_on=trained_on(first),
        trainable=first.trainable_parameters,
        total=first.total_parameters,
        per_keypoint=_spreads(by_seed, "per_keypoint"),
        per_image=_spreads(by_seed, "per_image"),
        category_mean_per_keypoint=_spreads(by_seed, "category_mean_per_keypoint"),
        category_mean_per_image=_spreads(by_seed, "category_mean_per_image"),
        train_seconds=statistics.fmean(cost.train_seconds for cost in costs) if costs else None,
        peak_memory=max((cost.peak_memory_bytes for cost in costs), default=None),
        adapter_bytes=first.adapter_bytes if is_trained(first) else 0,
        seeds=tuple(sorted(record.seed for record in records)) if is_trained(first) else (),
        run_ids=tuple(record.run_id for record in runs),
        start=untrained_input(first, predictor),
        dataset=first.dataset if is_trained(first) else "",
        parts=part_spreads(runs, dataset, predictor),
        scored=tuple(
            record.run_id for record in sorted(records, key=lambda record: (record.seed, record.run_id))
        ),
        tracking=tracked(runs, dataset, predictor),
        further=further_of(by_seed, ranking_alpha(list(samples[0][1].per_keypoint))),
    )


def _elsewhere(record: Record, pairs: Pairs, predictor: str) -> bool:
    """Whether a run was scored on a split of this name, but on other pairs or by another version of its data."""
    scores = record.scores.get(pairs.dataset, {}).get(predictor)
    return scores is not None and pairs_of(record, pairs.dataset, scores) != pairs


def _spreads(scores: Sequence[Scores], aggregate: Aggregate) -> dict[str, Spread]:
    """Mean, spread and interval of every threshold that all seeds have; no interval where a seed has none."""
    first, *others = by_seed = [one.aggregates()[aggregate] for one in scores]
    intervals = [(one.intervals or {}).get(aggregate, {}) for one in scores]
    shared = [alpha for alpha in first if all(alpha in other for other in others)]

    def interval(alpha: str) -> tuple[float, float] | None:
        if not all(alpha in own for own in intervals):
            return None
        ends = [own[alpha] for own in intervals]
        return interval_from_records([one[alpha] for one in by_seed], ends) if others else ends[0]

    return {alpha: Spread.over([one[alpha] for one in by_seed], interval(alpha)) for alpha in shared}
