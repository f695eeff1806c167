"""What a training is given: splits, recipe, and what selects the best step."""

from __future__ import annotations

from dataclasses import dataclass

from peftcorr.engine.batches import CliqueSampler, PairSampler, Sampler
from peftcorr.engine.evaluate import Split
from peftcorr.matching.predictors import Predictor
from peftcorr.recipe import Training


@dataclass(frozen=True)
class Task:
    """What is to be learned.

    Attributes:
        recipe: how to train.
        seed: of batches and of what layers draw.
        trn: split that is trained on.
        val: split that selects; None keeps the last step.
        predictor: predicts in validation.
    """

    recipe: Training
    seed: int
    trn: Split
    val: Split | None
    predictor: Predictor

    def sampler(self) -> Sampler:
        """What draws the batches."""
        if self.recipe.sampler == "cliques":
            return CliqueSampler(self.trn.data, self.recipe.images, self.seed)
        return PairSampler(self.trn.data, self.recipe.pairs, self.seed)
