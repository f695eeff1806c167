"""The model card of a pushed run, and what is done to an image before its backbone sees it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from peftcorr.backbones import Backbone
from peftcorr.console import numbers
from peftcorr.console.numbers import Spread
from peftcorr.data.frame import FRAMINGS, RESIZINGS, ResizeMode
from peftcorr.data.leakage import warnings
from peftcorr.data.published.catalogue import CATALOGUE
from peftcorr.engine.plan import Model
from peftcorr.errors import shortened
from peftcorr.metrics.scores import Scores
from peftcorr.recipe import validate
from peftcorr.report.configuration import backbone_label, convention, description, image_size, method, part
from peftcorr.report.labels import flatten
from peftcorr.report.pipes import escaped, table
from peftcorr.results.record import Record

_TASK = "image-feature-extraction"  # the nearest of the hub's own
_UNKNOWN = "not known to peftcorr: ask whoever made them"
# Licences of weights as the hub's metadata has them: an identifier of its list, or "other" and a name.
_HUB = {
    "Apache-2.0": "apache-2.0",
    "CreativeML Open RAIL-M": "creativeml-openrail-m",
    "CreativeML Open RAIL++-M": "openrail++",
}
_ON_THE_HUB = re.compile(r"(apache|mit|bsd|cc|openrail|gpl|lgpl|agpl)[a-z0-9.+-]*")


def preprocessing(record: Record) -> dict[str, Any]:
    """What is done to an image: enough to give the backbone what it was trained on, without peftcorr.

    Raises:
        PeftCorrError: if the record's recipe is none of this version.
    """
    model = _model(record)
    return _preprocessing(model.backbone, model.options, _resize(record, model))


def _model(record: Record) -> Model:
    return Model.of(validate(record.recipe, f"The record {record.run_id}"), lambda *_: None)


def _resize(record: Record, model: Model) -> ResizeMode:
    return FRAMINGS[convention(record)].resized(record.dataset, model.options.resize)


def _preprocessing(cls: type[Backbone], config: Backbone.Config, mode: ResizeMode) -> dict[str, Any]:
    backbone, resizing = cls.build(config, None), RESIZINGS[mode]
    zero = resizing.padding == "zero" or (resizing.padding != "black" and backbone.pads_normalised)
    chosen = resizing.filter
    facts = {
        "image_size": [config.image_size, config.image_size],
        "resize": mode,
        "padding": "0 after normalising" if zero else "black",
        "filter": "bilinear, of floats" if chosen is None else f"{chosen.name.lower()}, antialiased",
        "rescale": "1/255",
        "mean": list(backbone.mean),
        "std": list(backbone.std),
        "stride": backbone.stride,
        "channels": backbone.channels,
    }
    parts = [
        {"backbone": part.__name__, **_preprocessing(part, own, mode)} for part, own in cls.members(config)
    ]
    return {**facts, "parts": parts} if parts else facts


def card(record: Record, name: str, peft: bool) -> str:
    """The card of a run, as Markdown below the metadata that the hub reads.

    Args:
        record: of the run, which was trained.
        name: repository, ``user/name``.
        peft: whether the adapter is there as peft reads it too.

    Raises:
        PeftCorrError: if the record's recipe is none of this version.
    """
    model = _model(record)
    licence = model.backbone.licence if record.official_weights else ""
    parts = [
        f"---\n{_metadata(record, name, licence)}\n---\n",
        f"# {escaped(description(record))}\n",
        "For semantic correspondence: points marked in one photograph are found in another one of the same kind of "
        "object. peftcorr trained this adapter on top of a pretrained vision backbone, which comes from elsewhere.\n",
        _use(record, name, peft),
        f"## What was trained\n\n{_facts(record, _resize(record, model))}\n",
        "## Scores\n",
        _INTRODUCTION,
        *_scores(record),
        _licences(record, licence),
        _FILES.format(run_id=record.run_id),
    ]
    return "\n".join(parts)


_INTRODUCTION = """\
PCK@a in percent: keypoints that land within a times the reference length (for most datasets the longer side of the
object's box), pooled (*per keypoint*) or averaged over image pairs (*per image*). [low, high] is the 95 % interval from
a bootstrap over images. A predictor is the rule that turns a similarity map into a point.
"""
_COLUMNS = ("Predictor", "PCK", "per keypoint", "per image")
_FILES = """\
## Files

`records/{run_id}.json` is the whole record of the run, with its recipe and the digests of what it read and wrote:
`peftcorr reproduce records/{run_id}.json` carries it out again and says how far the scores are. `preprocessing.json`
says what is done to an image. All tensors are safetensors.
"""


def _metadata(record: Record, name: str, licence: str) -> str:
    """The YAML of the card's front, by the hub's own class for it."""
    from huggingface_hub import EvalResult, ModelCardData

    known = _HUB.get(licence) or (licence if _ON_THE_HUB.fullmatch(licence) else "other" if licence else None)
    results = [
        EvalResult(
            task_type=_TASK,
            task_name="Semantic correspondence",
            dataset_type=re.sub(r"[^a-z0-9_.-]+", "-", where.lower()),
            dataset_name=shortened(where, 100),
            metric_type="pck",
            metric_name=shortened(f"PCK@{alpha} per keypoint, {predictor}", 100),
            metric_value=round(value, 2),
        )
        for where, predictor, scores in _tested(record)
        for alpha, value in scores.per_keypoint.items()
    ]
    own = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", record.weights_id, re.ASCII)
    metadata = ModelCardData(
        license=known,
        license_name=re.sub(r"[^a-z0-9]+", "-", licence.lower()) if known == "other" else None,
        library_name="peftcorr",
        pipeline_tag=_TASK,
        base_model=record.weights_id if own else None,
        base_model_relation="adapter" if own else None,
        tags=["semantic-correspondence", "peftcorr", *(shortened(one, 40) for one in _tags(record))],
        model_name=name,
        eval_results=results or None,
    )
    return metadata.to_yaml(line_break="\n").strip()


def _tags(record: Record) -> Iterator[str]:
    yield from dict.fromkeys((method(record), record.backbone))


def _use(record: Record, name: str, peft: bool) -> str:
    plugins = [key.removeprefix("plugin ") for key in record.ingredients if key.startswith("plugin ")]
    lines = [
        "## Use",
        "",
        "```python",
        "import peftcorr",
        "",
        f'model = peftcorr.load("{name}")',
        'points, similarity = model.match("a.jpg", "b.jpg", [[120, 80]])  # in pixels of b.jpg',
        'heat = model.heatmap("a.jpg", "b.jpg", [120, 80])  # (H, W), in the pixels of b.jpg',
        'features = model.features(["a.jpg", "b.jpg"])  # (B, C, h, w)',
        "```",
        "",
    ]
    if not record.official_weights:
        weights = escaped(shortened(record.weights_id))
        lines += [
            f"It was trained from the weights {weights}, which `load` has to be given (`weights=`).",
            "",
        ]
    if plugins:
        lines += [f"It needs the plugin that registers {escaped(', '.join(plugins))}.", ""]
    if peft:
        lines += [
            "Without peftcorr, by peft alone, where `base` is the backbone as its own library loads it:",
            "",
            "```python",
            "from peft import PeftModel",
            "",
            f'model = PeftModel.from_pretrained(base, "{name}", subfolder="adapters/{record.run_id}")',
            "```",
            "",
        ]
    return "\n".join(lines)


def _facts(record: Record, resize: ResizeMode) -> str:
    training, size, cost = part(record, "training"), image_size(record), record.cost
    options = {key: value for key, value in flatten(part(record, "strategy")).items() if key != "name"}
    rate = record.learning_rate or training.get("learning_rate")
    rows = [
        ("Strategy", record.strategy + "".join(f", {key} {_value(value)}" for key, value in options.items())),
        (
            "Backbone",
            f"{record.backbone}, weights {record.weights_id} ({(record.weights_sha256 or '-')[:16]})",
        ),
        ("Image", f"{size} x {size} pixels, {resize}" if size else "-"),
        ("Trained on", record.dataset),
        (
            "Steps",
            f"{training.get('steps', '-')}"
            + ("" if record.best_step is None else f", best {record.best_step}"),
        ),
        ("Learning rate", numbers.MISSING if rate is None else f"{rate:g}"),
        ("Seed", str(record.seed)),
        (
            "Trainable parameters",
            f"{numbers.count(record.trainable_parameters)} "
            f"({numbers.share(record.trainable_parameters, record.total_parameters)})",
        ),
        ("Adapter", f"{numbers.count(record.adapter_bytes)} bytes"),
        ("Training time", numbers.MISSING if cost is None else numbers.duration(cost.train_seconds)),
        ("Run", record.run_id),
    ]
    return table(("What", ""), [(name, escaped(shortened(value, 200))) for name, value in rows], left=(0, 1))


def _value(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _tested(record: Record) -> Iterator[tuple[str, str, Scores]]:
    for where, predictors in record.scores.items():
        for predictor, scores in predictors.items():
            yield where, predictor, scores


def _scores(record: Record) -> Iterator[str]:
    if convention(record) != "peftcorr":
        yield f"Matched by the convention {escaped(convention(record))}.\n"
    if record.protocol.name != "peftcorr":
        yield f"Correct as the preset {escaped(record.protocol.name)} defines it ({escaped(record.protocol.source)}).\n"
    if record.unselected:
        yield "No validation split selected the step: the last one was kept.\n"
    for line in warnings(record.leakage or {}):
        yield f"{escaped(line)}\n"
    for where, predictors in record.scores.items():
        rows = [
            [
                escaped(predictor),
                f"@{alpha}",
                *(_score(scores, name, alpha) for name in ("per_keypoint", "per_image")),
            ]
            for predictor, scores in predictors.items()
            for alpha in scores.per_keypoint
        ]
        some = next(iter(predictors.values()), None)
        if some is not None:
            counts = f"{some.n_pairs:,} image pairs, {some.n_keypoints:,} keypoints"
            yield f"### {escaped(where)}\n\n{counts}.\n\n{table(_COLUMNS, rows, left=(0, 1))}\n"


def _score(scores: Scores, aggregate: Any, alpha: str) -> str:
    value = scores.aggregates()[aggregate].get(alpha)
    interval = (scores.intervals or {}).get(aggregate, {}).get(alpha)
    return numbers.with_interval(None if value is None else Spread(value, interval=interval))


def _licences(record: Record, licence: str) -> str:
    sections = [record.recipe.get("dataset"), *(record.recipe.get("eval_on") or [])]
    data = {one.get("folder") or one["name"]: one["name"] for one in sections if isinstance(one, dict)}
    rows = [(f"Weights of {backbone_label(record)}", escaped(licence or _UNKNOWN))]
    rows += [(f"Data: {shown}", _terms(name)) for shown, name in data.items()]
    cells = [(escaped(shortened(what, 100)), terms) for what, terms in rows]
    text = "The adapter is a change of these weights, so their licence bears on it."
    return f"## Licences\n\n{text}\n\n{table(('Of', 'Licence'), cells, left=(0, 1))}\n"


def _terms(dataset: str) -> str:
    """What is known of the terms that a dataset comes under, by the name of its class."""
    if dataset == "synthetic":
        return "Apache-2.0: rendered by peftcorr"
    if dataset in CATALOGUE:
        return f"its publishers' terms: <{CATALOGUE[dataset].page}>"
    return _UNKNOWN.replace("them", "it")
