"""Averages of aligned particles, half sets, masks and the Fourier shell correlation."""
