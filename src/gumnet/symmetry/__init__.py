"""Which symmetry a map has, and about which axes."""
