"""The shared layer: FITS in and out, normalisation, tiles, catalogues, data sets, weights, config."""
