"""What rows must have in common to be ranked with one another: the same pairs, matched and scored in the same way."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from peftcorr.data.frame import FRAMINGS
from peftcorr.matching.conventions import CONVENTIONS
from peftcorr.matching.conventions import PEFTCORR as PEFTCORR_CONVENTION
from peftcorr.metrics.presets import PEFTCORR, PRESETS, Preset
from peftcorr.metrics.scores import Scores
from peftcorr.report.configuration import convention, split_digest
from peftcorr.results.record import Record


@dataclass(frozen=True)
class Pairs:
    """What was scored, and how; equal for the same pairs, the same definition and the same convention alone.

    So a subset is never ranked with its whole, nor what one preset calls correct with what another does, nor what was
    matched in one system's way with what was in another's, nor a corrected annotation with the one before.
    `digest` is of the split's annotation and images (`split_digest`); empty where a record does not tell.
    """

    convention: str
    protocol: Preset
    dataset: str
    n_pairs: int
    n_keypoints: int
    digest: str


def pairs_of(record: Record, dataset: str, scores: Scores) -> Pairs:
    """What the scores of a run on one split are of.

    Args:
        record: of the run.
        dataset: ``<dataset>/<split>``.
        scores: by any predictor.
    """
    counts = (scores.n_pairs, scores.n_keypoints)
    return Pairs(convention(record), record.protocol, dataset, *counts, split_digest(record, dataset))


def data_label(pairs: Pairs) -> str:
    """What a title says of the data where a split of this name was scored with other annotation or images too."""
    return f"data {pairs.digest[:8]}" if pairs.digest else "data of no digest"


def definition_label(pairs: Pairs) -> str:
    """What a title says of how pairs were matched and scored; nothing of the protocol's own way.

    A convention brings its preset, measured in the square that the backbone saw.
    """
    known = CONVENTIONS.get(pairs.convention)
    if known is PEFTCORR_CONVENTION:
        return protocol_label(pairs.protocol)
    frame = pairs.protocol.frame
    if known is not None and pairs.protocol == _fed(
        known.preset, frame.size, FRAMINGS[known.name].placing.edge
    ):
        size = f" at {frame.size} px" if pairs.protocol.needs_sizes else ""
        return f"convention {pairs.convention}{size}"
    return ", ".join(filter(None, (f"convention {pairs.convention}", protocol_label(pairs.protocol))))


def _fed(preset: str, size: int | None, edge: float | None) -> Preset:
    return PRESETS[preset] if size is None else PRESETS[preset].as_fed(size, edge)


def protocol_label(protocol: Preset) -> str:
    """What a title says of the definition that scores follow: nothing of peftcorr's own, another one's name.

    A record may carry a definition that this version has not, or has under the same name with other content: it is
    told apart by its hash.
    """
    if protocol == PEFTCORR:
        return ""
    if protocol == PRESETS.get(protocol.name):
        return f"preset {protocol.name}"
    digest = hashlib.sha256(protocol.model_dump_json().encode()).hexdigest()[:8]
    return f"preset {protocol.name} [{digest}]"
