"""Particles, maps and tables from and to files; nothing is computed here beyond bringing files into one form."""
