"""Matching: similarity maps, predictors and the training loss."""
