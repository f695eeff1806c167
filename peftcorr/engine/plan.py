"""What a recipe comes to here: everything that it names, looked up once and read by all that follows.

`finalise` is the only place that asks the registries, the dataset folders and the weights what a recipe means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from peftcorr.backbones import BACKBONES, Backbone, Weights
from peftcorr.backbones.bfloat16 import narrowed
from peftcorr.config import Section, distinct, make, options
from peftcorr.data.base import DatasetSource
from peftcorr.data.frame import FRAMINGS, Framing
from peftcorr.engine.flip import require_flip
from peftcorr.engine.ingredients import ingredients
from peftcorr.engine.initial import Initial, initial
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError, RecipeFails, shortened, shown
from peftcorr.matching import PREDICTORS
from peftcorr.matching.conventions import PEFTCORR, Convention, convention_named
from peftcorr.matching.predictors import Predictor, label
from peftcorr.metrics.presets import Preset, preset_named
from peftcorr.recipe import Recipe, Training, WeightsIdentity
from peftcorr.results.choice import chosen_predictor
from peftcorr.results.identity import run_id
from peftcorr.strategies import STRATEGIES, Strategy
from peftcorr.strategies.base import apply_checked
from peftcorr.strategies.contract import Contract, Untouched, held

FindWeights = Callable[[type[Backbone], Backbone.Config], Weights | None]


@dataclass(frozen=True)
class Model:
    """A backbone and the strategy that adapts it.

    Attributes:
        backbone: class of the backbone.
        options: of the backbone, validated; the size and the way images are resized are among them.
        weights: what the backbone is loaded from; None for shapes alone.
        strategy_section: the strategy's name and options.
    """

    backbone: type[Backbone]
    options: Backbone.Config
    weights: Weights | None
    strategy_section: Section

    @classmethod
    def of(cls, recipe: Recipe, find_weights: FindWeights) -> Model:
        """The model of a recipe, from the weights that `find_weights` finds for its backbone.

        Raises:
            PeftCorrError: if a name is unknown or the weights are missing.
        """
        backbone = BACKBONES.get(recipe.backbone["name"])
        config = backbone.Config(**options(recipe.backbone))
        return cls(backbone, config, find_weights(backbone, config), recipe.strategy)

    def strategy(self) -> Strategy:
        """A new strategy: one remembers its training, so every training has its own."""
        made: Strategy = make(STRATEGIES, self.strategy_section)
        return made

    def build(self) -> tuple[Backbone, Strategy]:
        """The backbone as it was pretrained, and the strategy, applied to it.

        Raises:
            PeftCorrError: if the weights cannot be loaded.
            RecipeFails: if the strategy cannot be applied.
        """
        strategy = self.strategy()
        backbone = self._pretrained()
        try:
            apply_checked(strategy, backbone)
        except PeftCorrError as error:
            raise RecipeFails(str(error)) from error
        return backbone, strategy

    def _pretrained(self) -> Backbone:
        return narrowed(self.backbone.build(self.options, self.weights))

    def begin(self, device: torch.device) -> Contract | Untouched:
        """As `build`, with the strategy held to its contract, and the backbone on a device.

        Raises:
            PeftCorrError: as `build`, or if the strategy breaks its contract.
        """
        strategy = self.strategy()
        contract = held(strategy, self._pretrained(), device)
        try:
            contract.begin()
        except PeftCorrError as error:
            raise RecipeFails(str(error)) from error
        return contract

    def shapes(self) -> tuple[Backbone, Strategy]:
        """As `build`, on the meta device: nothing is loaded.

        Raises:
            RecipeFails: if the strategy cannot be applied.
        """
        return replace(self, weights=None).build()


@dataclass(frozen=True)
class Plan:
    """One run: its recipe with everything written out that decides its numbers, and what the names in it stand for.

    Attributes:
        recipe: what the record has.
        ingredients: digests of what the recipe names.
        run_id: names the run; empty where the weights that decide it are not here.
        model: backbone, weights and strategy.
        trains: whether the run trains anything.
        dataset: trained on, and tested on.
        eval_on: tested on besides.
        predictors: in the recipe's order; the first one selects the best step.
        labels: name of each predictor in the scores.
        preset: when a keypoint is correct.
        convention: how images, keypoints, features and points come together.
        initial: what training starts from; None for the pretrained backbone.
    """

    recipe: Recipe
    ingredients: Mapping[str, str]
    run_id: str
    model: Model
    trains: bool
    dataset: DatasetSource
    eval_on: tuple[DatasetSource, ...]
    predictors: tuple[Predictor, ...]
    labels: tuple[str, ...]
    preset: Preset
    convention: Convention
    initial: Initial | None = None

    @property
    def framing(self) -> Framing:
        """What the convention does with images and keypoints."""
        return FRAMINGS[self.convention.name]

    @property
    def tested(self) -> tuple[DatasetSource, ...]:
        """Every dataset whose test split is scored."""
        return (self.dataset, *self.eval_on)

    @property
    def title(self) -> str:
        """The run in a few words, options that are not the defaults among them."""
        recipe = self.recipe
        dataset = recipe.dataset.get("folder") or recipe.dataset["name"]
        strategy = _with_options(recipe.strategy, STRATEGIES.get(recipe.strategy["name"]))
        return f"{strategy} on {_with_options(recipe.backbone, self.model.backbone)}, {dataset}, seed {recipe.seed}"


def _with_options(section: Section, cls: Any) -> str:
    """A name with the options that differ from its class's defaults: ``last_k (k=2)``."""
    defaults = {
        key: field.get_default(call_default_factory=True) for key, field in cls.Config.model_fields.items()
    }
    own = [f"{key}={value}" for key, value in options(section).items() if value != defaults.get(key)]
    return str(section["name"]) + (shortened(f" ({', '.join(own)})", 60) if own else "")


def finalise(recipe: Recipe, bench: Workbench) -> Plan:
    """Look up what a recipe names, and write into it what decides its numbers here.

    That is the weights' hash, what tells the datasets' folders from others, the learning rate, the whole id of the run
    that training starts from, and the setting of a predictor that was tuned.

    Raises:
        PeftCorrError: if weights, folder, split or the setting are missing, two test sets have one name, or parts of
            the recipe do not go together: said before any cell starts.
    """
    model = Model.of(recipe, bench.weights_of)
    weights = model.weights
    assert weights is not None
    strategy = model.strategy()
    training = recipe.training
    if not strategy.trains():
        training = Training(steps=0)
    elif training.learning_rate is None and training.search is None:
        training = training.model_copy(update={"learning_rate": strategy.learning_rate()})
    dataset, *others = (bench.source(section) for section in (recipe.dataset, *recipe.eval_on))
    if strategy.trains():
        _require(dataset, recipe.dataset, "trn", "train on another and score this one with --eval-on.")
    for source, section in zip((dataset, *others), (recipe.dataset, *recipe.eval_on), strict=True):
        _require(source, section, "test", "choose another.")
    first = {**recipe.dataset, **dataset.identity()}
    whole_first = {key: value for key, value in first.items() if key != "hold_out"}  # its test split is whole
    eval_on: list[tuple[Section, DatasetSource]] = []
    for source, section in zip(others, recipe.eval_on, strict=True):
        identified = {**section, **source.identity()}
        # A recipe may name every test set, whichever is trained on: none is scored twice.
        if identified not in (whole_first, *(known for known, _ in eval_on)):
            eval_on.append((identified, source))
    _require_distinct([dataset, *(source for _, source in eval_on)])
    start = initial(recipe, dataset, weights.sha256, bench.store)
    whole = recipe.model_copy(
        update={
            "init_from": None if start is None else start.record.run_id,
            "weights": WeightsIdentity(id=weights.id, sha256=weights.sha256, commit=weights.commit),
            "training": training,
            "dataset": first,
            "eval_on": [section for section, _ in eval_on],
            "predictors": _predictors(recipe, weights, bench),
        }
    )
    trains = strategy.trains() and training.steps > 0
    if start is not None and not trains:
        raise PeftCorrError(
            "--init-from is what a training starts from, and this run trains nothing: give it training.steps."
        )
    sources = {"dataset": dataset} | {f"eval_on.{n}": source for n, (_, source) in enumerate(eval_on)}
    read = ingredients(whole, weights, sources, trains, bench)
    read |= {} if start is None else {"init_from": start.sha256}
    predictors: list[Predictor] = [make(PREDICTORS, section) for section in whole.predictors]
    convention = convention_named(whole.convention)
    if whole.flip == "adaptive":
        require_flip(convention, predictors)
    return Plan(
        whole,
        read,
        "" if weights.on_the_hub else run_id(whole.model_dump(mode="json"), read),
        model,
        trains,
        dataset,
        tuple(source for _, source in eval_on),
        tuple(predictors),
        _labels(whole.predictors, predictors),
        scored_by(whole, model.options.image_size),
        convention,
        start,
    )


def scored_by(recipe: Recipe, size: int) -> Preset:
    """The preset of a recipe; a convention measures in the very square that the backbone sees.

    Args:
        recipe: names both.
        size: side of the backbone's square input.
    """
    preset, edge = preset_named(recipe.preset), FRAMINGS[recipe.convention].placing.edge
    return preset if recipe.convention == PEFTCORR.name else preset.as_fed(size, edge)


def _require(source: DatasetSource, section: Section, split: str, mend: str) -> None:
    found = source.splits()
    if split not in found:
        instead = "" if found else f" {source.looked_for()}"
        raise PeftCorrError(
            f"The dataset {shown(section['name'])} has no {split} split (it has {', '.join(found) or 'none'}): "
            f"{mend}{instead}".rstrip()
        )


def _require_distinct(tested: list[DatasetSource]) -> None:
    """Refuse test sets of one name, by which scores are kept: one would take the other's place."""
    names = [source.name for source in tested]
    if again := next((name for name in names if names.count(name) > 1), None):
        raise PeftCorrError(
            f"Two of the test sets are named {shown(again)}, and scores are kept by name: rename a folder, or test on "
            "them in two runs."
        )


def _predictors(recipe: Recipe, weights: Weights, bench: Workbench) -> list[Section]:
    """The recipe's predictors; what was chosen for the backbone stands where ``tuned`` stood: the first one selects."""
    tuned = {"name": "tuned"}
    if tuned not in recipe.predictors:
        return recipe.predictors
    kept = recipe.dataset.get("hold_out")
    chosen = chosen_predictor(recipe.backbone, weights.id, weights.sha256, bench.store, kept)
    return distinct([chosen if section == tuned else section for section in recipe.predictors])


def _labels(sections: Sequence[Section], predictors: Sequence[Predictor]) -> tuple[str, ...]:
    """Name of each predictor in the scores.

    Raises:
        PeftCorrError: if two have the same.
    """
    found = [label(s["name"], p.config) for s, p in zip(sections, predictors, strict=True)]
    for name in found:
        if found.count(name) > 1:
            raise PeftCorrError(
                f"predictors: two of them are {shortened(name)} in the scores, to six digits: leave one out."
            )
    return tuple(found)
