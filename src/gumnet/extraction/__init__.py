"""Cutting particles out of tomograms, at picked places or along filaments."""
