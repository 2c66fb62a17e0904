"""Mock star clusters: isochrones, stars one by one, HST point spread functions, star fields."""
