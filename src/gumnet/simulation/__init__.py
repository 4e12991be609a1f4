"""Subtomograms with known truth, simulated from atoms, maps or built-in phantoms."""
