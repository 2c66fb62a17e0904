"""Astro R-CNN: detect, classify and deblend stars and galaxies in multi-band images."""
