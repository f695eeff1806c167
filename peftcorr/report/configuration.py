"""Which runs are one configuration, and what a configuration is called."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peftcorr.console.numbers import MISSING
from peftcorr.errors import shortened
from peftcorr.files import digest
from peftcorr.report.labels import flatten, groups_of, option_labels, with_options
from peftcorr.results.record import Record

# What is asked of a trained model does not make it another model.
_ASKED = ("eval_on", "predictors", "alphas", "preset")
_TRAINING = ("dataset", "training")
_READ = ("annotation", "images")
_SCORE_TOLERANCE = 1e-9
_LARGEST_IMAGE = 1_000_000  # pixels a side; more is a mistake


@dataclass
class Configuration:
    """Runs that differ in the seed alone, and in what was asked of the trained model; by run id."""

    records: list[Record]
    label: str = ""


def configurations_of(records: Sequence[Record]) -> list[Configuration]:
    """Group runs into configurations, each with a label that tells it from all others wherever they meet."""
    parts = [part for whole in _split(records, _ASKED) for part in _agreeing(whole)]
    configurations = [Configuration(part) for part in parts]
    _name(configurations)
    return configurations


def backbone_label(record: Record) -> str:
    """Name of the backbone; of its weights when they are not the official ones."""
    if record.official_weights:
        return record.backbone
    return record.weights_id if record.weights_id != record.backbone else f"{record.backbone} (other weights)"


def convention(record: Record) -> str:
    """Name of the convention that a run was matched by."""
    return str(record.recipe.get("convention", "peftcorr"))


def image_size(record: Record) -> int | None:
    """Side of the backbone's square input in pixels, if the recipe tells."""
    size = part(record, "backbone").get("image_size")
    return size if type(size) is int and 0 < size < _LARGEST_IMAGE else None


def description(record: Record) -> str:
    """A run in one clause: ``lora on dinov2_vits14 at 224 px, trained on animal-pairs``."""
    size = image_size(record)
    return (
        f"{record.strategy} on {backbone_label(record)}"
        + (f" at {size} px" if size else "")
        + (f", trained on {trained_on(record)}" if is_trained(record) else "")
    )


def is_trained(record: Record) -> bool:
    """Whether the run trained anything: neither the training data nor the seed changes a run that did not."""
    return record.trainable_parameters != 0


def trained_on(record: Record) -> str:
    """Names of the training datasets, one after the other, and what the last was without; a dash without training."""
    if not is_trained(record):
        return MISSING
    last = " without ".join(filter(None, (record.dataset, held_out(record))))
    return ", then ".join([*(stage.dataset for stage in record.chain), last])


def held_out(record: Record) -> str:
    """What the recipe holds out of its dataset: ``30 % of the keypoints``; empty where that is nothing."""
    option = part(record, "dataset").get("hold_out")
    if not isinstance(option, dict):
        return ""
    keypoints, categories = option.get("keypoints"), option.get("categories")
    found = []
    if isinstance(keypoints, float):
        draw = f" (draw {option['seed']})" if option.get("seed") else ""
        found.append(f"{100 * keypoints:g} % of the keypoints{draw}")
    elif isinstance(keypoints, list) and keypoints:
        found.append(f"keypoint{'s' * (len(keypoints) > 1)} {', '.join(map(str, keypoints))}")
    if isinstance(categories, list) and categories:
        found.append(f"categor{'ies' if len(categories) > 1 else 'y'} {', '.join(map(str, categories))}")
    return shortened(", ".join(found), 100)


def untrained_input(record: Record, predictor: str) -> str:
    """What decides the points that an untrained backbone gives: options, weights, precision, matching, plugins' code.

    Args:
        record: of the run.
        predictor: that gives the points, as the scores name it: its name, with options in parentheses.
    """
    parts = [record.recipe.get("backbone"), record.recipe.get("score_precision")]
    matched = [convention(record), record.recipe.get("flip", "none")]
    weights = [record.backbone, record.weights_id, record.weights_sha256]
    predicts = record.ingredients.get(f"plugin predictor {predictor.partition('(')[0]}")
    code = [_plugins(record, "backbone "), predicts]
    return json.dumps([*parts, *matched, *weights, *code], sort_keys=True)


def split_digest(record: Record, dataset: str) -> str:
    """Digest of the annotation and images of a scored split; empty where the record has none (version 1).

    Args:
        record: of the run.
        dataset: ``<dataset>/<split>``, a key of its scores.
    """
    # Scores stand in the order in which the recipe names what is tested; what they are called is the folder's to say.
    others = record.recipe.get("eval_on")
    places = [
        "dataset",
        *(f"eval_on.{number}" for number in range(len(others if isinstance(others, list) else ()))),
    ]
    if len(places) == len(record.scores):
        places = [places[list(record.scores).index(dataset)]]
    found = [record.ingredients.get(f"{kind} {place}/test", "") for place in places for kind in _READ]
    return digest(found) if any(found) else ""


def made_of(record: Record) -> dict[str, str]:
    """Digests of what decides a model beside its recipe: ``data`` that it was trained on, and plugins' ``code``.

    What predicts, and what else is tested on, do not make another model.
    """
    data: dict[str, str | None] = {}
    code = {**_plugins(record, "strategy "), **_plugins(record, "backbone ")}
    if is_trained(record):
        names = [f"{kind} dataset/{split}" for kind in _READ for split in ("trn", "val")]
        data = {name: record.ingredients.get(name) for name in (*names, "held out dataset")}
        code |= _plugins(record, f"dataset {part(record, 'dataset').get('name')}")
    return {name: digest(found) for name, found in (("data", data), ("code", code)) if any(found.values())}


def _plugins(record: Record, beginning: str) -> dict[str, str]:
    """Digests of plugins' code by kind and name."""
    return {
        name: value for name, value in record.ingredients.items() if name.startswith(f"plugin {beginning}")
    }


def pair_limit(record: Record) -> int | None:
    """The recipe's `limit_pairs`."""
    limit = record.recipe.get("limit_pairs")
    return limit if type(limit) is int and 0 < limit < 2**63 else None


def part(record: Record, name: str) -> dict[str, Any]:
    """A section of the recipe; empty where the record has none."""
    section = record.recipe.get(name)
    return section if isinstance(section, dict) else {}


def _identity(record: Record, without: tuple[str, ...]) -> str:
    # Each seed starts from a run of its own: what those were trained on is told by `trained_on`.
    hidden = {"seed", "init_from", *without, *(() if is_trained(record) else _TRAINING)}
    recipe = {key: value for key, value in record.recipe.items() if key not in hidden}
    names = [record.strategy, record.backbone, record.weights_id, record.weights_sha256, trained_on(record)]
    asked = {} if "predictors" in without else _plugins(record, "predictor ")
    return json.dumps([recipe, names, made_of(record), asked], sort_keys=True, default=str)


def _split(records: Sequence[Record], without: tuple[str, ...]) -> list[list[Record]]:
    groups = groups_of(_identity(record, without) for record in records)
    return [[records[index] for index in group] for group in groups]


def _agreeing(records: list[Record]) -> list[list[Record]]:
    """Take apart what cannot be one configuration, since one seed of it gave two results."""
    if _agree(records):
        return [records]
    # What was asked did change the model after all (a predictor that chose the best step, say).
    parts = _split(records, ())
    return [part for whole in parts for part in ([whole] if _agree(whole) else [[run] for run in whole])]


def _agree(records: Sequence[Record]) -> bool:
    """Whether records of the same seed give the same scores wherever they overlap, and plugins predict by one code."""
    seen: dict[tuple[Any, ...], float] = {}
    codes: dict[str, str] = {}
    for record in records:
        seed = record.seed if is_trained(record) else None
        if any(codes.setdefault(name, code) != code for name, code in _plugins(record, "predictor ").items()):
            return False
        for dataset, predictors in record.scores.items():
            for predictor, scores in predictors.items():
                for alpha, value in scores.per_keypoint.items():
                    key = (seed, record.protocol, dataset, split_digest(record, dataset), predictor, alpha)
                    if not abs(seen.setdefault(key, value) - value) <= _SCORE_TOLERANCE:
                        return False
    return True


def _name(configurations: Sequence[Configuration]) -> None:
    firsts = [configuration.records[0] for configuration in configurations]
    options = [_strategy_options(record) for record in firsts]
    shown = [""] * len(firsts)
    for group in groups_of(method(record) for record in firsts):
        for index, text in zip(group, option_labels([options[index] for index in group]), strict=True):
            shown[index] = text
    beside = [(backbone_label(record), image_size(record), trained_on(record)) for record in firsts]
    for group in groups_of(
        (method(record), *row) for record, *row in zip(firsts, shown, beside, strict=True)
    ):
        rests = option_labels([_rest(firsts[index]) for index in group], fewest=True)
        for index, text in zip(group, rests, strict=True):
            limit = pair_limit(firsts[index])
            notes = [
                "" if limit is None else f"limited to {limit:,} pairs",
                "no validation: last step" if firsts[index].unselected else "",
            ]
            configurations[index].label = with_options(method(firsts[index]), shown[index], text, *notes)
    for group in groups_of((c.label, *row) for c, row in zip(configurations, beside, strict=True)):
        for index in group if len(group) > 1 else ():
            configurations[index].label += f" [{firsts[index].run_id}]"


def method(record: Record) -> str:
    """What the strategy is called: of peft's tuners, which share a strategy, the tuner."""
    return str(part(record, "strategy").get("tuner", record.strategy))


def _strategy_options(record: Record) -> dict[str, Any]:
    hidden = ("name", "tuner")  # both are told by `method`
    return {name: value for name, value in flatten(part(record, "strategy")).items() if name not in hidden}


def _rest(record: Record) -> dict[str, Any]:
    """What can tell two rows apart that show the same strategy, backbone, image size and training data."""
    hidden = {
        "strategy",
        "seed",
        "init_from",
        "limit_pairs",
        "preset",
        *(() if is_trained(record) else _TRAINING),
    }
    recipe = {key: value for key, value in record.recipe.items() if key not in hidden}
    if (training := part(record, "training")).get("search") is not None and "training" in recipe:
        recipe["training"] = {**training, "learning_rate": "searched"}
    rest = flatten(recipe)
    rest = {key: value for key, value in rest.items() if not key.startswith("backbone.weights")}
    made = {name: value[:8] for name, value in made_of(record).items()}
    return {**rest, "weights": record.weights_id, "sha256": (record.weights_sha256 or "")[:8], **made}
