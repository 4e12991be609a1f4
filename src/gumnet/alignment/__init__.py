"""Alignment: learned and by search, of pairs and against a reference. Modules are imported by their own names."""
