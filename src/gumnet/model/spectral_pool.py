"""Spectral pooling: features made smaller and low-passed in the discrete cosine domain, with no loss of position."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gumnet.errors import InputError


def cosine_matrix(size: int, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return the orthonormal DCT-II matrix (n, n) for ``size`` = n: row k holds the k-th cosine (equation 1).

    Equation 1 of the paper scales each axis by 2 / n, which is not orthonormal: its inverse would have another scale.
    The algorithms only need a transform and its inverse, so the orthonormal one gives the same output.
    """
    k = torch.arange(size, dtype=torch.float64)[:, None]
    i = torch.arange(size, dtype=torch.float64)[None, :]
    matrix = torch.cos(math.pi * k * (2 * i + 1) / (2 * size)) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix.to(dtype)


def pooling_matrix(size_in: int, size_out: int, keep: int, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return the matrix (M, n) of one axis: transform n, keep the K lowest, pad to M, transform back.

    ``C_M[:K]^T C_n[:K]`` does all four steps of algorithm 1 at once. Its transpose is algorithm 2, the gradient.

    Parameters
    ----------
    size_in, size_out, keep
        n, M and K; K may be neither above n nor above M.
    """
    if not 1 <= keep <= min(size_in, size_out):
        raise InputError(
            f"spectral pooling from {size_in} to {size_out} cannot keep {keep} coefficients",
            cure=f"keep 1 to {min(size_in, size_out)}",
        )
    return (cosine_matrix(size_out)[:keep].T @ cosine_matrix(size_in)[:keep]).to(dtype)


class SpectralPool(nn.Module):
    """DCT spectral pooling and filtering of feature maps (algorithm 1 of the paper).

    Orthonormal, so that the sum of squares of what is kept does not change; a constant map scales by (n / M)^1.5.

    Parameters
    ----------
    size_in, size_out, keep
        Side of the cubic input map, of the output map, and of the cube of coefficients that pass.
    """

    matrix: Tensor

    def __init__(self, size_in: int, size_out: int, keep: int) -> None:
        super().__init__()
        self.keep = keep
        # Not part of the weights: it depends on the box alone, and weights serve any box.
        matrix = pooling_matrix(size_in, size_out, keep, dtype=torch.float32)
        self.register_buffer("matrix", matrix, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return maps (n, channels, M, M, M) of maps (n, channels, n_in, n_in, n_in)."""
        matrix = self.matrix.to(features.dtype)
        # The last axis first: from then on every product is over a smaller map.
        features = features @ matrix.T
        features = matrix @ features
        plane = features.shape[-2:]
        pooled: Tensor = matrix @ features.flatten(-2)
        return pooled.reshape(*pooled.shape[:-1], *plane)

    def extra_repr(self) -> str:
        """Return the sizes, for printing."""
        return f"{self.matrix.shape[1]} -> {self.matrix.shape[0]}, keep {self.keep}"
