"""Mutation testing of peftcorr: what is drawn, which tests see it, and whether one of them fails."""
