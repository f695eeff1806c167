"""The categories of the synthetic benchmark, by name."""

from __future__ import annotations

from peftcorr.data.synthetic.categories.animals import bird, fish, insect, quadruped
from peftcorr.data.synthetic.categories.indoors import chair, person
from peftcorr.data.synthetic.categories.vehicles import aeroplane, bicycle, car

__all__ = ["CATEGORIES"]

CATEGORIES = {
    kind.name: kind for kind in (aeroplane, bicycle, bird, car, chair, fish, insect, person, quadruped)
}
