"""Networks that see star clusters: their age, mass, size and extinction, and their class."""
