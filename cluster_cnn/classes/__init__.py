"""Morphological classes of star clusters: after Wei et al. 2020 and StarcNet, and a smaller net."""
