"""Rigid transformations, resampling, Fourier space and missing wedges: batched and differentiable."""
