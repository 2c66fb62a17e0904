"""Worlds with known truth: PhoSim-style fields and mock star clusters."""
