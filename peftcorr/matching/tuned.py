"""``tuned``: a name in a recipe for the predictor that was chosen for the backbone."""

from __future__ import annotations

from torch import Tensor

from peftcorr.errors import PeftCorrError
from peftcorr.matching.predictors import Predictor


class Tuned(Predictor):
    """What ``peftcorr tune-predictor`` chose on val for the backbone; a run writes its setting in this one's place."""

    def predict(self, similarity: Tensor, stride: int) -> Tensor:
        """Refused: a recipe that is run has no such predictor any more.

        Raises:
            PeftCorrError: always.
        """
        raise PeftCorrError(
            "The predictor 'tuned' stands for what was chosen for a backbone: run the recipe through peftcorr run."
        )
