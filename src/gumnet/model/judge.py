"""The second part of the shipped Gum-Net: it looks at both volumes in a hypothetical pose and judges it.

A search scores a pose by a sum of products. Given the few poses that the search likes best, more can be asked of the
two volumes at once: whether they agree everywhere, or by chance in a part. This network sees both volumes of a pair,
put on each other, and their product, and says by how much the log likelihood of the pose should differ, and by what
small rotation and shift the pose is off. Its last layer starts at 0: untrained, it changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gumnet.alignment.band import Band
from gumnet.alignment.score import phases
from gumnet.geometry.fourier import to_real
from gumnet.geometry.so3 import rotation_from_vector
from gumnet.types import Rotations, Vectors

GRID = 16
"""Points a box on each axis of the volumes that are looked at."""
SHELLS = GRID // 2 - 1
_HIDDEN = 128
_TINY = 1e-30


@dataclass(frozen=True)
class Verdict:
    """What is said of h hypothetical poses of p pairs.

    Parameters
    ----------
    log_likelihood
        What to add to the log likelihood of the search, (p, h).
    rotation
        Rotation vector (p, h, 3), in radians: the pose is about ``exp(rotation) R``.
    shift
        In boxes, (p, h, 3): to be added to t.
    """

    log_likelihood: Tensor
    rotation: Vectors
    shift: Vectors

    def write(self, rows: slice, count: int, said: Verdict) -> None:
        """Write in place what is said of the first ``count`` poses of some pairs."""
        for column, part in (
            (self.log_likelihood, said.log_likelihood),
            (self.rotation, said.rotation),
            (self.shift, said.shift),
        ):
            column[rows, :count] = part

    def corrected(self, rotations: Rotations, shifts: Vectors, box: int) -> tuple[Rotations, Vectors]:
        """Return poses (p, h, 3, 3) and (p, h, 3), shifts in voxels of a box of ``box``, as they are corrected."""
        return rotation_from_vector(self.rotation) @ rotations, shifts + self.shift * box


class Judge(nn.Module):
    """Judges hypothetical poses of pairs.

    Parameters
    ----------
    channels
        Of the first convolution; the next two have twice and four times as many.
    described
        How many numbers describe a volume, see `MatchedFilter.described`.
    """

    def __init__(self, channels: int, described: int) -> None:
        super().__init__()
        c = channels
        self.looks = nn.Sequential(
            nn.Conv3d(3, c, 3, padding=1),
            nn.ReLU(),
            nn.Conv3d(c, 2 * c, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv3d(2 * c, 4 * c, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4 * c * (GRID // 4) ** 3, _HIDDEN),
        )
        self.told = nn.Linear(2 * described + 1, _HIDDEN)
        self.says = nn.Sequential(nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 7))
        last = self.says[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, a: Tensor, b: Tensor, described: Tensor, log_likelihood: Tensor) -> Verdict:
        """Return the verdict on h poses of p pairs.

        Parameters
        ----------
        a, b
            Reference and particle put on each other, (p, h, M, M, M), of standard deviation 1; see `put_together`.
        described
            What is known of the signal-to-noise of both, (p, 2 d).
        log_likelihood
            That of the search, relative to its best, (p, h).
        """
        p, h = log_likelihood.shape
        seen = torch.stack([a, b, a * b], dim=2).flatten(0, 1)
        if seen.device.type == "cpu":
            # A quarter faster there.
            seen = seen.contiguous(memory_format=torch.channels_last_3d)
        told = torch.cat([described[:, None].expand(-1, h, -1), log_likelihood[..., None] / 8], dim=-1)
        out: Tensor = self.says(self.looks(seen).view(p, h, -1) + self.told(told)).to(torch.float32)
        return Verdict(out[..., 0], out[..., 1:4], out[..., 4:])


def put_together(
    values: Tensor,
    transfer: Tensor,
    particle: Tensor,
    particle_transfer: Tensor,
    weights: Tensor,
    shifts: Vectors,
    band: Band,
) -> tuple[Tensor, Tensor]:
    """Return references and particles put on each other, each (p, h, M, M, M), on a grid of `GRID` points.

    Both are seen where the other was observed, weighted so that the sum of their products over the voxels is the score
    of the search within the shells that the grid holds, times the number of voxels.

    Parameters
    ----------
    values, transfer
        The references in h rotations, in a band, and what acted on their signal, (p, h, K).
    particle, particle_transfer, weights
        The particles, what acted on their signal, and what each coefficient counts, (p, K).
    shifts
        Of the poses, in voxels of the band's box, (p, h, 3).
    """
    keep = band.shell <= SHELLS
    small = Band.up_to(GRID, SHELLS, values.device)
    root = weights[:, None, keep].clamp_min(0).sqrt()
    moved = phases(band, shifts)[..., keep].conj()
    a = values[..., keep] * particle_transfer[:, None, keep] * root
    b = particle[:, None, keep] * moved * transfer[..., keep] * root
    out = []
    for spectrum in (a, b):
        power = (spectrum.real**2 + spectrum.imag**2).sum(-1, keepdim=True)
        # Twice: each coefficient of a band stands for its partner too.
        unit = spectrum * (2 * power).clamp_min(_TINY).rsqrt() * GRID**3
        out.append(to_real(small.put(unit), GRID))
    return out[0], out[1]


def residual_loss(verdict: Verdict, rotation: Vectors, shift: Vectors) -> Tensor:
    """Return how far the corrections of hypotheses are from true ones, (p, h): Huber's loss, in units of 4 degrees.

    Parameters
    ----------
    rotation, shift
        The true corrections, (p, h, 3), as in `Verdict`. A hundredth of a box counts as much as 4 degrees.
    """
    off = torch.cat([(verdict.rotation - rotation) / math.radians(4.0), (verdict.shift - shift) / 0.01], dim=-1)
    return torch.nn.functional.huber_loss(off, torch.zeros_like(off), reduction="none").sum(-1)
