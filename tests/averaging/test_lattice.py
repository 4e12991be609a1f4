from __future__ import annotations

import pytest
import torch

from gumnet.alignment.band import Band
from gumnet.alignment.spectrum import TurnedSpectra
from gumnet.averaging.fsc import fsc
from gumnet.averaging.lattice import Lattice
from gumnet.geometry.fourier import to_fourier
from gumnet.geometry.so3 import random_rotations
from gumnet.simulation.phantom import phantom

BOX, SHELLS = 16, 4
BAND = Band.up_to(BOX, SHELLS)
LATTICE = Lattice(BAND)


@pytest.fixture(scope="module")
def structure() -> torch.Tensor:
    made = phantom(0, BOX)
    return made - made.mean()


def side_by_side(values: torch.Tensor) -> torch.Tensor:
    """Return real and imaginary parts (r, 2 M) of what `TurnedSpectra.read` gives for one volume, (1, 2, r, M)."""
    return torch.cat([values[0, 0], values[0, 1]], dim=-1)


def turned(volume: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    return side_by_side(TurnedSpectra.of(volume[None], None, SHELLS).read(rotations[None].float(), BAND)[0])


def in_shells(values: torch.Tensor) -> torch.Tensor:
    """Return means over shells 1 ... S of coefficients (M,)."""
    return torch.stack([values[BAND.shell == shell].mean() for shell in range(1, SHELLS + 1)])


def test_putting_back_is_the_transpose_of_reading(structure: torch.Tensor, generator: torch.Generator) -> None:
    rotations = random_rotations(7, generator=generator)
    spectra = TurnedSpectra.of(structure[None], None, SHELLS)
    read = side_by_side(spectra.read(rotations[None].float(), BAND)[0])
    others = torch.randn(read.shape, generator=generator)
    precision = torch.rand(7, len(BAND.shell), generator=generator)
    sums = LATTICE.zeros()
    LATTICE.add(sums, rotations, others, precision)
    fine = spectra.fine[0].flatten(1).double()
    on_lattice = (fine * sums[:, :2].T.double()).sum()
    scale = float(read.norm() * others.norm())
    assert float(on_lattice) / scale == pytest.approx(float((read.double() * others).sum()) / scale, abs=1e-6)
    # The eight weights of a coefficient add up to 1.
    assert float(sums[:, 2].double().sum()) == pytest.approx(float(precision.double().sum()), rel=1e-5)


def test_turned_spectra_give_the_structure_back(structure: torch.Tensor, generator: torch.Generator) -> None:
    rotations = random_rotations(300, generator=generator)
    precision = torch.ones(300, len(BAND.shell))
    sums = LATTICE.zeros()
    LATTICE.add(sums, rotations, turned(structure, rotations), precision)
    made = LATTICE.map(sums, torch.full((SHELLS + 1,), 1e6))
    curve = fsc(made, structure)
    assert float(curve[1:SHELLS].min()) > 0.995
    # Points at the rim of the band have neighbours on one side only.
    assert float(curve[SHELLS]) > 0.98
    truth, found = (BAND.take(to_fourier(volume)) for volume in (structure, made))
    together = (found * truth.conj()).real.sum() / (found.norm() * truth.norm())
    assert float(together) > 0.99
    gain = in_shells((found * truth.conj()).real) / in_shells(truth.abs() ** 2)
    torch.testing.assert_close(gain, torch.ones(SHELLS), atol=0.1, rtol=0)
    # Nothing lies beyond the band.
    beyond = Band.up_to(BOX, 7)
    power = beyond.take(to_fourier(made)).abs() ** 2
    assert float(power[beyond.shell > SHELLS + 1].sum()) < 0.01 * float(power.sum())


def test_the_prior_shrinks_a_map_as_wiener_does(structure: torch.Tensor, generator: torch.Generator) -> None:
    """Of r spectra of precision p everywhere and an expected power P, the map is r p / (r p + 1 / P) of the sure one.

    The precision of a coefficient varies from place to place, with the rotations that came by; on the mean it is r p,
    so the equation holds where there are many.
    """
    count = 2000
    rotations = random_rotations(count, generator=generator)
    sums = LATTICE.zeros()
    LATTICE.add(sums, rotations, turned(structure, rotations), torch.ones(count, len(BAND.shell)))
    sure, unsure = (LATTICE.map(sums, torch.full((SHELLS + 1,), power)) for power in (1e9, 1 / count))
    truth = BAND.take(to_fourier(sure))
    gain = in_shells((BAND.take(to_fourier(unsure)) * truth.conj()).real) / in_shells(truth.abs() ** 2)
    torch.testing.assert_close(gain, torch.full((SHELLS,), 0.5), atol=0.06, rtol=0)


def test_common_power_of_signal_is_its_power(generator: torch.Generator) -> None:
    """A point in the centre has the same coefficient everywhere, whatever its orientation: the power is its square."""
    sums = [LATTICE.zeros(), LATTICE.zeros()]
    noisy = [LATTICE.zeros(), LATTICE.zeros()]
    spectra = torch.cat([torch.full((200, len(BAND.shell)), 3.0), torch.zeros(200, len(BAND.shell))], dim=1)
    for clean, other in zip(sums, noisy, strict=True):
        rotations = random_rotations(200, generator=generator)
        precision = torch.rand(200, len(BAND.shell), generator=generator)
        both = precision.repeat(1, 2)
        LATTICE.add(clean, rotations, both * spectra, precision)
        noise = 3.0 * torch.randn(spectra.shape, generator=generator)
        LATTICE.add(other, rotations, both * (spectra + noise), precision)
    torch.testing.assert_close(LATTICE.common_power(*sums)[1:], torch.full((SHELLS,), 9.0))
    torch.testing.assert_close(LATTICE.common_power(*noisy)[1:], torch.full((SHELLS,), 9.0), rtol=0.1, atol=0)


def test_common_power_of_independent_noise_is_nothing(generator: torch.Generator) -> None:
    sums = [LATTICE.zeros(), LATTICE.zeros()]
    for half in sums:
        rotations = random_rotations(200, generator=generator)
        noise = torch.randn(200, 2 * len(BAND.shell), generator=generator)
        LATTICE.add(half, rotations, noise, torch.ones(200, len(BAND.shell)))
    apart = LATTICE.common_power(*sums)
    # The same particles on both sides would keep their noise.
    same = LATTICE.common_power(sums[0], sums[0])
    assert bool((apart >= 0).all())
    assert bool((apart[2:] < 0.15 * same[2:]).all())
