from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from gumnet.alignment.band import MODEL_ERROR, shell_power
from gumnet.alignment.score import whiten
from gumnet.alignment.spectrum import transfer_of
from gumnet.averaging.low_band import LowBand
from gumnet.geometry.fourier import friedel_multiplicity, shell_indices, to_fourier
from gumnet.particles import MemorySource, Particles
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.dataset import simulate
from gumnet.simulation.phantom import phantom

BOX, SHELLS = 16, 4


@pytest.fixture(scope="module")
def particles() -> Particles:
    config = SimulationConfig(snr=1.0, box=BOX, voxel_size_angstrom=24.0, max_shift=1.0, seed=4)
    return simulate(phantom(0, BOX)[None], particles=6, config=config).particles


@pytest.fixture(scope="module")
def data(particles: Particles) -> LowBand:
    return LowBand.of(particles, SHELLS)


def test_it_gives_the_log_likelihood_of_gaussian_noise(
    particles: Particles, data: LowBand, generator: torch.Generator
) -> None:
    """The log density of X given c A, ``-|X - c A|^2 / N`` over half of all coefficients, up to a constant."""
    weights = particles.read_weights(range(6))
    assert weights is not None
    transfer = transfer_of(weights)
    assert transfer is not None
    white = whiten(particles.read_volumes(range(6)), transfer)
    power = shell_power(white, transfer)
    noise = (power.noise + MODEL_ERROR * power.signal).mean(dim=0).double()
    shell = shell_indices(BOX)
    inside = (shell >= 1) & (shell <= SHELLS)
    # Each pair of Friedel mates counts once.
    half = inside * friedel_multiplicity(BOX).double() / 2
    seen, c = to_fourier(white)[2].to(torch.complex128), transfer[2].double()
    spread = noise[shell.clamp(max=BOX // 2)]

    def brute_force(spectrum: torch.Tensor) -> float:
        return float(-((seen - c * spectrum).abs() ** 2 / spread * half).sum())

    def by_band(spectrum: torch.Tensor) -> float:
        a = data.band.take(spectrum)
        first = 2 * (a.conj() * data.matched[2]).real.sum()
        return float(first - (a.abs() ** 2 * data.precision[2 % len(data.precision)]).sum())

    maps = [to_fourier(torch.randn(BOX, BOX, BOX, generator=generator).double()) for _ in range(3)]
    nothing = torch.zeros_like(maps[0])
    for spectrum in maps:
        expected = brute_force(spectrum) - brute_force(nothing)
        assert by_band(spectrum) == pytest.approx(expected, rel=1e-4)


def test_white_noise_has_its_power_and_no_signal(generator: torch.Generator) -> None:
    noise = 7.0 * torch.randn(24, BOX, BOX, BOX, generator=generator)
    data = LowBand.of(Particles.from_tensors(noise, voxel_size_angstrom=10.0), SHELLS)
    # Scaled to power 1, a coefficient of an unnormalised transform has power N^3.
    assert data.precision.shape == (1, len(data.band.shell))
    outer = data.band.shell >= 2
    torch.testing.assert_close(data.precision[0, outer] * BOX**3, torch.ones(int(outer.sum())), atol=0.15, rtol=0)
    assert float(data.signal[2:].max()) < 0.15 * BOX**3


def test_fewer_shells_and_some_rows_are_parts_of_it(particles: Particles, data: LowBand) -> None:
    low = data.up_to(3)
    direct = LowBand.of(particles, 3)
    assert torch.equal(low.band.index, direct.band.index)
    torch.testing.assert_close(low.matched, direct.matched)
    torch.testing.assert_close(low.precision, direct.precision)
    torch.testing.assert_close(low.signal, direct.signal)
    assert data.up_to(9) is data
    some = data.rows([4, 1])
    assert torch.equal(some.matched, data.matched[[4, 1]])
    assert torch.equal(some.precision.expand(2, -1), data.precision.expand(6, -1)[[4, 1]])


class Counting:
    """A source of volumes that counts how often each is read."""

    def __init__(self, volumes: torch.Tensor) -> None:
        self.parent, self.box, self.reads = MemorySource(volumes), volumes.shape[-1], [0] * len(volumes)

    def __len__(self) -> int:
        return len(self.parent)

    def read(self, indices: Sequence[int]) -> torch.Tensor:
        for i in indices:
            self.reads[i] += 1
        return self.parent.read(indices)


def test_each_particle_is_read_once_in_whatever_batches(
    particles: Particles, data: LowBand, monkeypatch: pytest.MonkeyPatch
) -> None:
    volumes = Counting(particles.read_volumes(range(6)))
    monkeypatch.setattr("gumnet.averaging.low_band._BATCH_VOXELS", 4 * BOX**3)
    by_fours = LowBand.of(replace(particles, volumes=volumes), SHELLS)
    assert volumes.reads == [1] * 6
    torch.testing.assert_close(by_fours.matched, data.matched)
    torch.testing.assert_close(by_fours.precision, data.precision)


def test_the_power_of_the_structure_is_without_what_acts_on_it(generator: torch.Generator) -> None:
    """Particles of twice the density and four times the weights, with noise that goes along, are of one structure."""
    volumes = torch.randn(3, BOX, BOX, BOX, generator=generator)
    plain = torch.ones(BOX, BOX, BOX // 2 + 1)
    one = LowBand.of(Particles.from_tensors(volumes, voxel_size_angstrom=10.0, weights=plain), 4)
    # spectrum = weights * signal + noise: divided by the root of the weights both are the same volume.
    four = LowBand.of(Particles.from_tensors(2 * volumes, voxel_size_angstrom=10.0, weights=4 * plain), 4)
    torch.testing.assert_close(4 * four.signal[1:], one.signal[1:])
    torch.testing.assert_close(four.precision, 4 * one.precision)
