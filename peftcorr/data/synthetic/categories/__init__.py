"""The categories of the synthetic benchmark, by name."""

from __future__ import annotations

from peftcorr.data.synthetic.builder import Category
from peftcorr.data.synthetic.categories.animals import BIRD, FISH, INSECT, QUADRUPED
from peftcorr.data.synthetic.categories.indoors import CHAIR, PERSON
from peftcorr.data.synthetic.categories.vehicles import AEROPLANE, BICYCLE, CAR

CATEGORIES: dict[str, Category] = {
    category.name: category
    for category in (AEROPLANE, BICYCLE, BIRD, CAR, CHAIR, FISH, INSECT, PERSON, QUADRUPED)
}

__all__ = ["CATEGORIES"]
