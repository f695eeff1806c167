"""A finished run as a model: found, loaded, matched with, scored, exported."""

from peftcorr.model.matching import Model as Model
