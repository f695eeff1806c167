"""The predictor chosen for a backbone on a validation split: one JSON file a backbone, below ``predictors/``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from peftcorr.errors import PeftCorrError
from peftcorr.files import read_json, write_json
from peftcorr.matching.predictors import WindowSoftargmax
from peftcorr.metrics.scores import Percent, Threshold
from peftcorr.results.store import Store


class ChosenWindow(WindowSoftargmax.Config):
    """An entry of a recipe's ``predictors``."""

    name: Literal["window_softargmax"] = "window_softargmax"


class PredictorChoice(BaseModel):
    """What was chosen, on what, and what it was chosen from.

    `backbone` is the recipe's section. `alpha` is the threshold whose PCK per keypoint decided; `pck` has it for every
    predictor that was looked at and every threshold, in percent. `run_id` names the run whose adapter was in place,
    null for the backbone as it comes. `hold_out` is the option of the dataset: what the choice did not see.
    """

    model_config = ConfigDict(extra="forbid")
    schema_version: Literal[1] = 1
    predictor: ChosenWindow
    backbone: dict[str, Any]
    weights_id: str
    weights_sha256: str | None
    strategy: str
    run_id: str | None
    dataset: str
    hold_out: dict[str, Any] | None = Field(default=None, exclude_if=lambda value: value is None)
    split: Literal["val"] = "val"
    n_pairs: int
    n_keypoints: int
    alpha: float
    pck: dict[str, dict[Threshold, Percent]]


def write_choice(choice: PredictorChoice, store: Store) -> str:
    """Write a choice in place of an earlier one for the same backbone; returns the file's path.

    Raises:
        PeftCorrError: if it cannot be written.
    """
    path = store.predictor_path(choice.backbone["name"], choice.weights_id, choice.backbone["image_size"])
    write_json(path, choice.model_dump(mode="json"))
    return str(path)


def chosen_predictor(
    backbone: dict[str, Any],
    weights_id: str,
    weights_sha256: str | None,
    store: Store,
    hold_out: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The predictor chosen for a backbone, as an entry of a recipe's ``predictors``.

    Args:
        backbone: the recipe's section.
        weights_id, weights_sha256: of its weights.
        store: where the choice is.
        hold_out: the recipe's option: the choice must not have seen it either.

    Raises:
        PeftCorrError: if nothing was chosen, or for the backbone with other options or weights, or on what the recipe
            holds out.
    """
    path = store.predictor_path(backbone["name"], weights_id, backbone["image_size"])
    mend = "run peftcorr tune-predictor with this backbone first"
    try:
        choice = PredictorChoice.model_validate(read_json(path))
    except FileNotFoundError:
        raise PeftCorrError(
            f"The predictor 'tuned' has no setting for {backbone['name']} ({weights_id}) at "
            f"{backbone['image_size']} px, since {path} is missing: {mend}."
        ) from None
    except (OSError, ValueError) as error:
        raise PeftCorrError(
            f"{path} is no valid choice of a predictor ({type(error).__name__}): {mend}."
        ) from error
    differing = sorted(
        key for key in {*backbone, *choice.backbone} if backbone.get(key) != choice.backbone.get(key)
    )
    if differing or choice.weights_sha256 != weights_sha256:
        what = f"another {'backbone.' + differing[0]}" if differing else "other weights"
        raise PeftCorrError(f"{path} was chosen with {what}: {mend}.")
    if hold_out is not None and choice.hold_out != hold_out:
        raise PeftCorrError(
            f"{path} was chosen without the recipe's dataset.hold_out, so on keypoints that it holds out: run "
            "peftcorr tune-predictor with the same dataset.hold_out first."
        )
    return {"name": choice.predictor.name, **choice.predictor.model_dump(exclude={"name"})}
