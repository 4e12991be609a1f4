from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gumnet.alignment.aligner import AlignerOptions
from gumnet.alignment.band import shell_power
from gumnet.alignment.score import whiten
from gumnet.alignment.spectrum_match import SAMPLE, _Sums, sampled, shown_power
from gumnet.alignment.to_reference import AlignConfig, align
from gumnet.errors import InputError
from gumnet.evaluation.metrics import pair_errors
from gumnet.geometry.fourier import shell_indices, to_fourier, to_real
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.warp import warp
from gumnet.geometry.wedge import missing_wedge
from gumnet.particles import Particles, Poses

BOX, COUNT, SNR = 24, 36, 4.0
CPU = torch.device("cpu")


def filtered(volumes: Tensor, factor: Tensor) -> Tensor:
    """Return volumes with each shell multiplied by (N // 2 + 1,), 0 beyond."""
    factor = torch.cat([factor, torch.zeros(1)])[shell_indices(BOX).clamp(max=BOX // 2 + 1)]
    return to_real(to_fourier(volumes) * factor, BOX)


def envelope(shells: float) -> Tensor:
    return torch.exp(-((torch.arange(BOX // 2 + 1) / shells) ** 2))


@pytest.fixture
def reference(generator: torch.Generator) -> Tensor:
    """A map of sixty points in a ball: detail in all shells, as a map of atoms has it."""
    points = torch.zeros(BOX, BOX, BOX)
    while int(points.sum()) < 60:
        place = torch.randint(-6, 7, (3,), generator=generator)
        if float(place.square().sum()) < 40:
            x, y, z = (place + BOX // 2).tolist()
            points[z, y, x] = 1.0
    ball = filtered(points[None], envelope(9.0))[0]
    return ball - ball.mean()


def made(reference: Tensor, snr: float, generator: torch.Generator) -> tuple[Particles, Poses]:
    """Return particles that show the reference through an envelope, in noise that fell through it too."""
    rotations = random_rotations(COUNT, generator=generator)
    shifts = 2 * torch.rand(COUNT, 3, generator=generator, dtype=torch.float64) - 1
    truth = Poses.of(rotations, shifts)
    # `warp` puts a particle on its reference.
    back = truth.inverse()
    moved = warp(reference.expand(COUNT, -1, -1, -1), back.rotations.float(), back.shifts.float(), oversampling=2)
    signal = filtered(moved, envelope(4.0))
    noise = filtered(torch.randn(signal.shape, generator=generator), envelope(4.0))
    noise = noise * (signal.std() / noise.std() / snr**0.5)
    wedge = missing_wedge(BOX, 60.0)
    volumes = to_real(to_fourier(signal + noise) * wedge, BOX)
    return Particles.from_tensors(volumes, voxel_size_angstrom=10.0, weights=wedge), truth


def test_what_particles_show_of_each_shell_is_what_acted_on_it(reference: Tensor, generator: torch.Generator) -> None:
    particles, truth = made(reference, SNR, generator)
    known = shown_power(particles.with_poses(truth), reference[None], AlignerOptions(), CPU)
    assert known is not None
    h, true = known.amplitude[1:11], envelope(4.0)[1:11]
    # Interpolation, twice, takes 15 % off the finest of these, where three thousandths of the amplitude are left.
    assert torch.allclose(h / h[2], true / true[2], rtol=0.2)
    # And its scale: what is shown of the map has the share of the particles' power that the signal has, but for what
    # the mask cuts off the map.
    whole = shell_power(whiten(reference[None], None), None)
    count = shell_indices(BOX).flatten().bincount()[: BOX // 2 + 1]
    shown = ((whole.signal + whole.noise)[0] * known.amplitude**2 * count).sum()
    power = ((known.particles.signal + known.particles.noise)[0] * count).sum()
    assert float(shown / power) == pytest.approx(SNR / (1 + SNR), rel=0.25)


def test_poses_that_are_all_wrong_tell_nothing(reference: Tensor, generator: torch.Generator) -> None:
    wrong = Poses.of(random_rotations(COUNT, generator=generator), torch.zeros(COUNT, 3, dtype=torch.float64))
    noise = torch.randn(COUNT, BOX, BOX, BOX, generator=generator)
    nothing = Particles.from_tensors(noise, voxel_size_angstrom=10.0).with_poses(wrong)
    assert shown_power(nothing, reference[None], AlignerOptions(), CPU) is None


def test_the_band_begins_and_ends_where_something_is_shown() -> None:
    # Particles may have been high-passed, and what comes after a shell of nothing is chance.
    sums = _Sums(
        above=torch.tensor([0.0, -1.0, 8.0, 6.0, 2.0, 8.0], dtype=torch.float64),
        below=torch.full((6,), 2.0, dtype=torch.float64),
        error=torch.ones(6, dtype=torch.float64),
    )
    assert sums.amplitude().tolist() == [0.0, 0.0, 4.0, 3.0, 0.0, 0.0]


def test_particles_that_count_nothing_say_nothing(reference: Tensor, generator: torch.Generator) -> None:
    particles, truth = made(reference, 0.5, generator)
    spoiled = particles.read_volumes(range(COUNT)).clone()
    spoiled[::2] = torch.randn(spoiled[::2].shape, generator=generator)
    sure = torch.ones(COUNT, dtype=torch.float64)
    sure[::2] = 0.0
    some = replace(truth, confidences=sure, spreads_degrees=torch.zeros_like(sure))
    mixed = Particles.from_tensors(spoiled, voxel_size_angstrom=10.0, weights=missing_wedge(BOX, 60.0), poses=some)
    alone = particles.select(range(1, COUNT, 2)).with_poses(truth[list(range(1, COUNT, 2))])
    first = shown_power(mixed, reference[None], AlignerOptions(), CPU)
    second = shown_power(alone, reference[None], AlignerOptions(), CPU)
    assert first is not None
    assert second is not None
    assert torch.allclose(first.amplitude[:6], second.amplitude[:6], rtol=1e-3)


def test_poses_on_a_map_that_is_sharper_than_the_particles_come_out_better(
    reference: Tensor, generator: torch.Generator
) -> None:
    particles, truth = made(reference, 0.3, generator)
    plain = pair_errors(align(particles, reference, AlignConfig(device="cpu")).poses, truth)
    matching = AlignConfig(match_spectrum=True, device="cpu")
    found = pair_errors(align(particles, reference, matching).poses, truth)
    assert float(found.frobenius.median()) < 0.9 * float(plain.frobenius.median())
    assert float(found.shifts.median()) < 0.9 * float(plain.shifts.median())


def test_what_cannot_match_says_so(reference: Tensor, generator: torch.Generator) -> None:
    particles, _ = made(reference, 10.0, generator)
    few = particles.select(range(3))
    with pytest.raises(InputError, match="3 particles are too few"):
        align(few, reference, AlignConfig(match_spectrum=True, device="cpu"))
    with pytest.raises(InputError, match="method 'ht' does not match spectra"):
        align(particles, reference, AlignConfig(match_spectrum=True, method="ht", device="cpu"))


def test_half_of_a_small_set_speaks_for_it() -> None:
    assert sampled(7) == [0, 2, 4, 6]
    assert len(sampled(10_001)) == SAMPLE
