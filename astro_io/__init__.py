"""The shared layer: FITS, normalisation, tiles, catalogues, training sets, weights, config."""
