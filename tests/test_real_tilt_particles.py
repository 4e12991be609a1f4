"""40 real 70S ribosomes that WarpTools exported as 2D tilt stacks: what `docs/hand.md` says of them, in numbers."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import pytest
import torch
from torch import Tensor

from gumnet.geometry.ctf import ctf, dose_weights, image_frequencies
from gumnet.geometry.fourier import (
    frequencies,
    friedel_multiplicity,
    resize,
    shell_sums,
    spread_shells,
    to_fourier,
    to_real,
)
from gumnet.geometry.so3 import super_fibonacci
from gumnet.geometry.warp import voxel_coordinates, warp
from gumnet.geometry.wedge import rotate_weights
from gumnet.io.mrc import read_image_stack, read_map
from gumnet.io.relion import relion_particles
from gumnet.io.tilt_stack import TiltStackVolumes
from gumnet.particles import Particles
from gumnet.resolution.mirror import find_mirrored

BOX = 32
EVEN, ODD = list(range(0, 40, 2)), list(range(1, 40, 2))
Turned = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def particles(shared_data: Path) -> Particles:
    (path,) = (shared_data / "real-tilt-particles").glob("*_optimisation_set.star")
    return relion_particles(path)


@pytest.fixture(scope="module")
def read(particles: Particles) -> Turned:
    weights = particles.read_weights(range(40))
    assert weights is not None
    return particles.read_volumes(range(40)), weights


@pytest.fixture(scope="module")
def supplied(shared_data: Path) -> Tensor:
    return read_map(shared_data / "real-tilt-particles" / "warptools_test_box-32_angpix-12_reconstruct.mrc")[0].double()


@pytest.fixture(scope="module")
def turned(read: Turned, particles: Particles) -> Turned:
    return put_on_reference(read, particles.poses.rotations)


def put_on_reference(read: Turned, rotations: Tensor) -> Turned:
    volumes = warp(read[0], rotations.float(), torch.zeros(len(rotations), 3), oversampling=2)
    return volumes.double(), rotate_weights(read[1], rotations.float()).double()


def shuffled(read: Turned, particles: Particles, seed: int) -> Turned:
    order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
    return put_on_reference(read, particles.poses.rotations[order])


def plain(turned: Turned, rows: list[int]) -> Tensor:
    """Return the sum of the volumes as they are, within the sphere inscribed in the box."""
    return within(turned[0][rows].sum(0), 15.5)


def weighted(turned: Turned, rows: list[int]) -> Tensor:
    """Return the least-squares average: the sum of spectra over the sum of weights."""
    weights = turned[1][rows].sum(0)
    return to_real(to_fourier(turned[0][rows].sum(0)) / (weights + 3e-3 * weights.max()), BOX)


def within(volume: Tensor, radius: float) -> Tensor:
    distance = voxel_coordinates(BOX, dtype=torch.float64).norm(dim=-1)
    return volume * torch.sigmoid((radius - distance) / 0.7)


def angular(volume: Tensor) -> Tensor:
    """Return the volume without its spherical average, which any pile of like particles has in common."""
    spectrum = to_fourier(volume)
    mean = shell_sums(spectrum.real, BOX) / shell_sums(torch.ones_like(spectrum.real), BOX)
    return to_real(spectrum - spread_shells(mean, BOX), BOX)


def correlation(first: Tensor, second: Tensor) -> float:
    """Return the correlation of two volumes between 0.06 and 0.3 cycles per voxel."""
    k = frequencies(BOX, dtype=torch.float64).norm(dim=-1)
    band = ((k > 0.06) & (k < 0.3)) * friedel_multiplicity(BOX, dtype=torch.float64)
    a, b = to_fourier(first), to_fourier(second)
    power = (a.abs() ** 2 * band).sum() * (b.abs() ** 2 * band).sum()
    return float(((a * b.conj()).real * band).sum() / power.sqrt())


def mirror(volume: Tensor, axis: int = 0) -> Tensor:
    """Return the volume with one axis turned round, the centre voxel N // 2 staying in place."""
    return volume.flip(axis).roll(1, axis)


def test_the_stacks_are_read_as_they_were_written(particles: Particles) -> None:
    assert len(particles) == 40
    assert particles.box == BOX
    assert particles.voxel_size_angstrom == 12
    assert particles.names[0] == "Unt_083/1"


def test_half_maps_at_the_poses_of_the_file_agree(read: Turned, turned: Turned, particles: Particles) -> None:
    assert correlation(weighted(turned, EVEN), weighted(turned, ODD)) > 0.35  # measured 0.367
    assert correlation(plain(turned, EVEN), plain(turned, ODD)) > 0.33  # measured 0.348
    wrong = [shuffled(read, particles, seed) for seed in range(4)]
    chance = torch.tensor([correlation(plain(w, EVEN), plain(w, ODD)) for w in wrong])
    assert float(chance.mean()) < 0.1  # measured 0.084


def test_only_the_spherical_part_agrees_without_the_poses(read: Turned, turned: Turned, particles: Particles) -> None:
    """Shuffled poses leave the particles' common radial density, strong once weights restore low frequencies."""
    right = correlation(angular(weighted(turned, EVEN)), angular(weighted(turned, ODD)))
    assert right > 0.25  # measured 0.276
    for seed in range(3):
        wrong = shuffled(read, particles, seed)
        assert abs(correlation(angular(weighted(wrong, EVEN)), angular(weighted(wrong, ODD)))) < 0.12


def test_the_supplied_map_is_the_mirror_image_along_z(turned: Turned, supplied: Tensor) -> None:
    average = within(weighted(turned, list(range(40))), 11)
    against = [correlation(average, within(mirror(supplied, axis), 11)) for axis in range(3)]
    assert against[0] > 0.88  # z; measured 0.910
    assert max(against[1:]) < 0.55  # y and x
    assert correlation(average, within(supplied, 11)) < 0.45  # as it is; measured 0.353


def test_gumnet_fsc_would_say_that_it_is(turned: Turned, supplied: Tensor) -> None:
    ours = weighted(turned, list(range(40)))
    found = find_mirrored(torch.stack([ours, supplied]), voxel_size_angstrom=12.0, threshold=0.143)
    assert found is not None
    assert found.axis == 0
    assert found.resolution_angstrom < 30
    assert find_mirrored(torch.stack([ours, mirror(supplied)]), voxel_size_angstrom=12.0, threshold=0.143) is None


def test_the_supplied_map_has_the_hand_of_the_ribosome(shared_data: Path, turned: Turned, supplied: Tensor) -> None:
    """The geometry in the files gives the mirror image, as it would in RELION; see docs/hand.md."""
    with mrcfile.open(shared_data / "complexes" / "4v7r_5A.mrc") as mrc:
        structure = torch.from_numpy(mrc.data.copy())
    small = 16  # 24 Angstrom voxels: all that decides the hand is below 1 / 48 per Angstrom
    wide = resize(structure[None], 20)[0]
    reference = wide[2:18, 2:18, 2:18]
    at = voxel_coordinates(small)
    centre_of_mass = (reference[..., None] * at).sum((0, 1, 2)) / reference.sum()
    rotations = super_fibonacci(3000, dtype=torch.float32)
    average = within(weighted(turned, list(range(40))), 11)
    targets = [within(supplied, 11), within(mirror(supplied), 11), average, mirror(average)]
    band = frequencies(small).norm(dim=-1) > 0.06

    def normalised(volumes: Tensor) -> Tensor:
        spectra = to_fourier(volumes) * band
        power = (spectra.abs() ** 2 * friedel_multiplicity(small)).sum((-3, -2, -1), keepdim=True)
        return spectra / power.sqrt()

    wanted = normalised(torch.stack([resize(t[None], small)[0].float() for t in targets]))
    best = torch.zeros(4)
    for batch in rotations.split(250):
        views = normalised(warp(reference[None], batch, centre_of_mass.expand(len(batch), 3)))
        for i, spectrum in enumerate(wanted):
            shifts = to_real(spectrum * views.conj(), small) * small**3
            best[i] = torch.maximum(best[i], shifts.amax())
    right, right_mirrored, ours, ours_mirrored = best.tolist()
    assert right > right_mirrored + 0.03
    assert ours_mirrored > ours + 0.015


def test_the_images_were_multiplied_by_the_ctf_that_the_reader_takes(particles: Particles) -> None:
    """White noise times a CTF has its power spectrum: the data themselves say which defocus Warp used."""
    volumes = particles.volumes
    assert isinstance(volumes, TiltStackVolumes)
    k = image_frequencies(BOX, dtype=torch.float64).norm(dim=-1)
    high = (k > 0.2) & (k < 0.5)
    likelihood = dict.fromkeys((-1.0, 0.0, 1.0), 0.0)
    for particle in volumes.reconstruction.particles:
        series = particle.series
        use = particle.visible & (series.scale > 0)
        power = torch.fft.rfft2(read_image_stack(particle.stack).double()).abs()[:, high][use] ** 2
        for sign in likelihood:
            offsets = sign * series.defocus_offsets_angstrom(particle.position_angstrom)
            transfer = ctf(
                BOX,
                12.0,
                series.defocus_u_angstrom + offsets,
                series.defocus_v_angstrom + offsets,
                series.defocus_angle_degrees,
            ) * dose_weights(BOX, 12.0, series.dose)
            expected = transfer[:, high][use] ** 2
            expected = expected + 0.01 * expected.amax(-1, keepdim=True)
            expected = expected * (power / expected).mean(-1, keepdim=True)
            likelihood[sign] -= float((expected.log() + power / expected).sum())
    assert likelihood[1.0] > likelihood[0.0] + 3000  # measured 5,400 above no change with depth
    assert likelihood[0.0] > likelihood[-1.0] + 10000  # and 24,000 above the opposite
