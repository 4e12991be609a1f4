"""Weights against their definition: spectrum = weights * signal + noise, with the noise's variance as the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gumnet.errors import InputError
from gumnet.geometry.fourier import to_fourier
from gumnet.geometry.wedge import missing_wedge
from gumnet.io.mrc import MrcSource, write_map, write_volume_stack
from gumnet.io.relion import relion_particles
from gumnet.io.relion_weights import CtfMultiplied, CtfSource, half_from_centred

HEAD = "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnImagePixelSize\n_rlnCtfDataAreCtfPremultiplied\n1 4 {}\n\n"
TABLE = "data_particles\n\nloop_\n_rlnImageName\n_rlnCtfImage\nv.mrc {}\n"


def _even(box: int, generator: torch.Generator, *, signed: bool = False) -> torch.Tensor:
    """Return random even weights, full and not centred: an autocorrelation has a real, even spectrum."""
    full: torch.Tensor = torch.fft.fftn(torch.randn(box, box, box, generator=generator)).abs().square() / box**3
    return (full - full.median() if signed else full).float()


@pytest.mark.parametrize("box", [8, 7])
def test_the_half_of_a_centred_cube_is_the_rfftn_layout(box: int, generator: torch.Generator) -> None:
    full = _even(box, generator)
    torch.testing.assert_close(half_from_centred(torch.fft.fftshift(full)), full[..., : box // 2 + 1])


@pytest.mark.parametrize("layout", ["full", "half"])
def test_data_not_multiplied_by_the_ctf_are_multiplied(tmp_path: Path, layout: str, generator: torch.Generator) -> None:
    """Noise-free data C * S become C^2 * S with weights C^2, sign changes of the CTF included."""
    box = 8
    full = _even(box, generator, signed=True)
    half = full[..., : box // 2 + 1]
    assert half.min() < 0 < half.max()
    signal = torch.randn(box, box, box, generator=generator)
    write_map(tmp_path / "v.mrc", torch.fft.ifftn(torch.fft.fftn(signal) * full).real, 4.0)
    write_map(tmp_path / "c.mrc", torch.fft.fftshift(full) if layout == "full" else half, 4.0)
    (tmp_path / "p.star").write_text(HEAD.format(0) + TABLE.format("c.mrc"))
    particles = relion_particles(tmp_path / "p.star")
    weights = particles.read_weights([0])
    assert weights is not None
    torch.testing.assert_close(weights[0], half**2)
    spectrum = to_fourier(particles.read_volumes([0]))[0]
    torch.testing.assert_close(spectrum, half**2 * to_fourier(signal), atol=2e-4, rtol=1e-4)


def _premultiplied(tmp_path: Path, name: str, flag: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return volume and weights of one particle, of which ``name`` is the rlnCtfImage."""
    (tmp_path / "p.star").write_text(HEAD.format(flag) + TABLE.format(name))
    particles = relion_particles(tmp_path / "p.star")
    weights = particles.read_weights([0])
    assert weights is not None
    return particles.read_volumes([0])[0], weights[0]


def test_sums_of_relion_4_come_through_as_they_are(tmp_path: Path, generator: torch.Generator) -> None:
    box = 8
    sums = _even(box, generator)[..., : box // 2 + 1]
    volume = torch.randn(box, box, box, generator=generator)
    write_map(tmp_path / "v.mrc", volume, 4.0)
    write_map(tmp_path / "both.mrc", torch.cat([sums, torch.full_like(sums, 37.0)]), 4.0)
    # RELION 4's file of two parts holds sums whatever the optics say.
    for flag in (0, 1):
        read, weights = _premultiplied(tmp_path, "both.mrc", flag)
        assert torch.equal(weights, sums)
        assert torch.equal(read, volume)


def test_ctf_of_premultiplied_data_is_squared_as_by_relion_3_1(tmp_path: Path, generator: torch.Generator) -> None:
    """The data are multiplied already and stay; the file is a CTF, which may be negative, and its square the weights.

    The data C * (C * S) have the weights C^2, which the spectrum shows.
    """
    box = 8
    full = _even(box, generator, signed=True)
    half = full[..., : box // 2 + 1]
    assert half.min() < 0 < half.max()
    signal = torch.randn(box, box, box, generator=generator)
    volume = torch.fft.ifftn(torch.fft.fftn(signal) * full**2).real
    write_map(tmp_path / "v.mrc", volume, 4.0)
    write_map(tmp_path / "half.mrc", half, 4.0)
    write_map(tmp_path / "full.mrc", torch.fft.fftshift(full), 4.0)
    for name in ("half.mrc", "full.mrc"):
        read, weights = _premultiplied(tmp_path, name, 1)
        assert torch.equal(read, volume)
        assert torch.equal(weights, half.square())
        torch.testing.assert_close(to_fourier(read), weights * to_fourier(signal), atol=2e-4, rtol=1e-4)


def test_a_binary_wedge_stays_what_it_is(tmp_path: Path, generator: torch.Generator) -> None:
    box = 8
    wedge = missing_wedge(box, 60.0)
    volume = torch.randn(box, box, box, generator=generator)
    write_map(tmp_path / "v.mrc", volume, 4.0)
    write_map(tmp_path / "c.mrc", wedge, 4.0)
    source = CtfSource(((tmp_path / "c.mrc", None),), box, (False,))
    assert torch.equal(source.read([0])[0], wedge)
    volumes = CtfMultiplied(MrcSource(((tmp_path / "v.mrc", None),), box), source)
    assert len(volumes) == 1
    assert volumes.box == box
    # The planes kx = 0 and Nyquist of a real volume are Hermitian: compare where the wedge is on both sides.
    spectrum, expected = to_fourier(volumes.read([0])[0]), to_fourier(volume) * wedge
    torch.testing.assert_close(spectrum[..., 1:-1], expected[..., 1:-1], atol=1e-4, rtol=1e-4)
    again = to_fourier(volumes.read([0])[0])
    torch.testing.assert_close(again, spectrum)


def test_stacks_of_half_volumes(tmp_path: Path, generator: torch.Generator) -> None:
    weights = torch.rand(3, 8, 8, 5, generator=generator)
    write_volume_stack(tmp_path / "w.mrcs", weights, 4.0)
    source = CtfSource(tuple((tmp_path / "w.mrcs", i) for i in range(3)), 8, (True,) * 3)
    assert torch.equal(source.read([2, 1]), weights[[2, 1]].square())


def test_wrong_weights_are_refused(tmp_path: Path, generator: torch.Generator) -> None:
    box = 8
    with_nan = torch.rand(box, box, box, generator=generator)
    with_nan[0, 0, 0] = torch.nan
    cases = {
        "shape.mrc": (
            torch.rand(6, 6, 6, generator=generator),
            "rlnCtfImage of particle 1 is 6 x 6 x 6, but a box of 8",
        ),
        "zero.mrc": (torch.zeros(box, box, box), "zero everywhere"),
        "nan.mrc": (with_nan, "NaN"),
        "negative.mrc": (torch.rand(2 * box, box, 5, generator=generator) - 0.5, "is negative"),
    }
    for name, (values, message) in cases.items():
        write_map(tmp_path / name, values, 4.0)
        with pytest.raises(InputError, match=rf"{name}: .*{message}"):
            CtfSource(((tmp_path / name, None),), box, (True,)).read([0])
    with pytest.raises(InputError, match=r"none\.mrc: no such file, .* particle 1"):
        CtfSource(((tmp_path / "none.mrc", None),), box, (True,)).read([0])
