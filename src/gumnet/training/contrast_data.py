"""Simulated particles for training by contrast, imaged anew at every step.

The structures are kept as spectra on a fine grid. A particle is read off there in its orientation, within the shells of
the filter's working grid alone, and imaged there: 30 times as fast as turning and imaging the whole volume.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gumnet.alignment.band import Band
from gumnet.alignment.score import phases
from gumnet.alignment.spectrum import TurnedSpectra, as_complex
from gumnet.geometry.fourier import friedel_multiplicity, phase_ramp, shell_indices, to_fourier, to_real
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.wedge import missing_wedge
from gumnet.model.matched_filter import crop_half
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.microscope import envelope, radial_transfer
from gumnet.types import Rotations, Vectors, Volumes, Weights

_TINY = 1e-30
_ZOOM = (0.6, 1.3)
"""Structures are made smaller and larger, so that a filter is bound to no one size."""
_OFF_CENTRE = 0.1
"""Particles lie up to this share of the box from its centre, on each axis. The network commutes with shifts, but what
it is told of the noise is read off the corners, where a particle far from the centre reaches."""
_SLOPE = (-0.5, 1.5)
_FALL = (-6.0, 18.0)
"""Amplitudes are multiplied by ``k^slope exp(-fall k^2)``: spectra of maps differ by as much, and a map that was
high-passed has its power where a raw one has next to none."""
_JOINED = 0.5
"""Share of structures that are two phantoms in one, the second with a weight from -0.5 to 1."""


@dataclass(frozen=True)
class Views:
    """Particles of g structures, v of each, made ready as `gumnet.alignment.score` does.

    Parameters
    ----------
    volumes
        Shape (g v, M, M, M) on the working grid, the views of a structure in a row.
    transfer
        Shape (g v, M, M, M // 2 + 1).
    rotations
        Shape (g v, 3, 3): from the structure to the particle.
    clean
        The volumes without their noise.
    shifts
        Shape (g v, 3), in voxels of the working grid, (x, y, z); None where they are not known.
    """

    volumes: Volumes
    transfer: Weights
    rotations: Rotations
    clean: Volumes
    shifts: Vectors | None = None

    def poses_on(self, first: Tensor, second: Tensor) -> tuple[Rotations, Vectors]:
        """Return the poses ``x_b = R x_a + t`` of views ``second`` (p,) on ``first`` (p,), of the same structures.

        Shapes (p, 3, 3) and (p, 3), in voxels of the working grid.
        """
        assert self.shifts is not None
        rotation = self.rotations[second] @ self.rotations[first].mT
        return rotation, self.shifts[second] - (rotation @ self.shifts[first][..., None])[..., 0]


@dataclass(frozen=True)
class Microscopes:
    """m random ways of imaging; spectra of shape (m, M, M, M // 2 + 1).

    Parameters
    ----------
    signal
        What each does to the signal.
    noise
        The standard deviation of its noise; its power over all frequencies of the whole box is 1.
    transfer
        What is known of ``signal``: where it observed, and for some the CTF.
    signal_power
        The mean square of what it does to the signal in the shells of the whole box, shape (m, s).
    """

    signal: Tensor
    noise: Tensor
    transfer: Weights
    signal_power: Tensor

    @classmethod
    def draw(cls, count: int, box: int, grid: int, generator: torch.Generator) -> Microscopes:
        """Return ``count`` microscopes for structures in a box of ``box`` voxels and a working grid of ``grid``."""
        signals, noises, transfers, powers = [], [], [], []
        multiplicity = friedel_multiplicity(box)
        for _ in range(count):
            u = torch.rand(8, generator=generator).tolist()
            config = SimulationConfig(
                box=box,
                voxel_size_angstrom=12.0 * 32 / box * (0.75 + 0.5 * u[0]),
                tilt_max_degrees=40 + 30 * u[1],
                defocus_um=1 + 4 * u[2],
                amplitude_contrast=0.07 + 0.05 * u[3],
                envelope_of_nyquist=0.3 + 0.5 * u[4],
                ctf=u[5] < 0.85,
            )
            ctf, damping = radial_transfer(config), envelope(config)
            observed = missing_wedge(box, config.tilt_max_degrees) if u[6] < 0.8 else torch.ones_like(ctf)
            parts = torch.stack([p * observed for p in (ctf.square(), damping.square(), torch.ones_like(ctf))])
            parts = parts / (parts * multiplicity).sum(dim=(1, 2, 3), keepdim=True)
            mixed = (_shares(generator)[:, None, None, None] * parts).sum(0)
            known = u[7] < 0.2
            signals.append((ctf.abs() if known else ctf) * observed)
            noises.append(mixed.sqrt())
            transfers.append((ctf.abs() if known else 1.0) * observed)
            powers.append(_radial(signals[-1].square(), box) / _radial(torch.ones_like(ctf), box).clamp_min(1))
        signal, noise, transfer = (crop_half(torch.stack(kind), grid) for kind in (signals, noises, transfers))
        return cls(signal, noise, transfer, torch.stack(powers))

    def to(self, device: torch.device | str) -> Microscopes:
        """Return them on another device."""
        return Microscopes(*(x.to(device) for x in (self.signal, self.noise, self.transfer, self.signal_power)))


class ViewSource:
    """Draws views of structures.

    Parameters
    ----------
    structures
        Shape (k, N, N, N).
    grid
        The working grid M of the filter.
    microscopes
        How many ways of imaging to draw.
    snr
        Lowest and highest signal-to-noise ratio.
    generator
        For the microscopes.
    device
        Where views are made; `draw` wants a generator there.
    """

    def __init__(
        self,
        structures: Volumes,
        grid: int,
        *,
        microscopes: int,
        snr: tuple[float, float],
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        box = structures.shape[-1]
        structures = structures.to(device)
        self._grid, self._snr = grid, snr
        self._microscopes = Microscopes.draw(microscopes, box, grid, generator).to(device)
        self._spectra = TurnedSpectra.of(structures, None, math.ceil(_ZOOM[1] * grid / 2))
        self._power = _radial(to_fourier(structures).abs().square(), box)
        self._power[:, 0] = 0.0
        # The same coefficients, in the units of the structures' box and of the working grid.
        self._band, self._placed = (Band.up_to(side, grid // 2 - 1, device) for side in (box, grid))
        self._radius = shell_indices(grid, device=device).to(torch.float32) / box

    def draw(
        self, groups: int, views: int, generator: torch.Generator, *, snr: tuple[float, float] | None = None
    ) -> Views:
        """Return views (groups * views), each group of one structure.

        Parameters
        ----------
        snr
            Lowest and highest signal-to-noise ratio, in place of those of the source.
        """
        n, microscopes = groups * views, self._microscopes
        zoom = _uniform(*_ZOOM, groups, generator)
        rotations = random_rotations(n, generator=generator, dtype=torch.float32).view(groups, views, 3, 3)
        spectra, power = self._signals(rotations, zoom, generator)
        slope, fall = _uniform(*_SLOPE, groups, generator), _uniform(*_FALL, groups, generator)

        def radial(radius: Tensor) -> Tensor:
            shape = (groups,) + (1,) * radius.ndim
            at = radius.clamp_min(0.5 / self._band.box)
            return at ** slope.view(shape) * torch.exp(-fall.view(shape) * at**2)

        spectra = (spectra * radial(self._radius)[:, None]).flatten(0, 1)
        power = power * radial(torch.arange(power.shape[1], device=power.device) / self._band.box).square()
        shifts = (torch.rand(n, 3, generator=generator, device=generator.device) * 2 - 1) * _OFF_CENTRE * self._grid
        spectra = spectra * phase_ramp(self._grid, shifts)

        seen = torch.randint(len(microscopes.noise), (n,), generator=generator, device=generator.device)
        spectra = spectra * microscopes.signal[seen]
        low, high = (math.log(s) for s in snr or self._snr)
        log_snr = _uniform(low, high, groups, generator).repeat_interleave(views)
        log_snr = log_snr + 0.2 * torch.randn(n, generator=generator, device=generator.device)
        # One particle in ten is nearly free of noise, as an average is.
        nearly = torch.rand(n, generator=generator, device=generator.device) < 0.1
        log_snr = torch.where(nearly, log_snr + math.log(30.0), log_snr)
        whole = (power.repeat_interleave(views, dim=0) * microscopes.signal_power[seen]).sum(-1)
        white = torch.randn(n, *(self._grid,) * 3, generator=generator, device=generator.device)
        white = to_fourier(white) / self._grid**1.5
        noise = white * microscopes.noise[seen] * (whole / log_snr.exp()).sqrt()[:, None, None, None]
        keep = self._radius > 0
        volumes, clean = to_real((spectra + noise) * keep, self._grid), to_real(spectra * keep, self._grid)
        scale = volumes.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp_min(_TINY)
        return Views(volumes / scale, microscopes.transfer[seen], rotations.flatten(0, 1), clean / scale, shifts)

    def _signals(self, rotations: Rotations, zoom: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return spectra (g, v, M, M, M // 2 + 1) in orientations (g, v, 3, 3), and power of their shells (g, s)."""
        groups, device = len(zoom), generator.device
        first = torch.randint(len(self._power), (groups,), generator=generator, device=device)
        second = torch.randint(len(self._power), (groups,), generator=generator, device=device)
        joined = torch.rand(groups, generator=generator, device=device) < _JOINED
        share = _uniform(-0.5, 1.0, groups, generator) * joined
        own = random_rotations(groups, generator=generator, dtype=torch.float32)[:, None]
        offset = _uniform(0.0, 0.2 * self._band.box, groups, generator)[:, None] * torch.nn.functional.normalize(
            torch.randn(groups, 3, generator=generator, device=device), dim=1
        )
        scale = zoom[:, None, None, None]
        values = as_complex(self._spectra[first].read(rotations * scale, self._band)[0])
        added = as_complex(self._spectra[second].read((rotations @ own) * scale, self._band)[0])
        moved = torch.einsum("gvij,gj->gvi", rotations, offset)
        values = values + share[:, None, None] * added * phases(self._band, moved)
        # What a structure of another size has at k, this one had at zoom k; its whole power grows as 1 / zoom^3.
        power = (self._power[first] + share.square()[:, None] * self._power[second]) / zoom[:, None] ** 3
        return self._placed.put(values), power


def _radial(values: Tensor, box: int) -> Tensor:
    """Return sums over all shells, the corners too, of (..., N, N, N // 2 + 1): shape (..., s)."""
    shells = shell_indices(box, device=values.device)
    weighted = (values * friedel_multiplicity(box, device=values.device)).flatten(-3)
    sums = torch.zeros(*weighted.shape[:-1], int(shells.max()) + 1, device=values.device)
    return sums.scatter_add(-1, shells.flatten().expand(weighted.shape), weighted)


def _shares(generator: torch.Generator) -> Tensor:
    """Return three shares that sum to 1 of the noise's power: as the CTF, as the envelope, and white.

    White noise, which leaves the low shells all but clean, is the easy case: one microscope in five has it.
    """
    u = torch.rand(2, generator=generator)
    coloured = torch.stack([0.2 + 0.6 * u[0], 0.8 - 0.6 * u[0], torch.zeros(())])
    return coloured if u[1] < 0.8 else torch.tensor([0.0, 0.0, 1.0])


def _uniform(low: float, high: float, n: int, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator, device=generator.device)
