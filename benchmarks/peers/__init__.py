"""Programs of others, run on the same volumes; none is a dependency of the package."""
