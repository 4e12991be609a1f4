"""A filter tuned on volumes out of two half tomograms: what is drawn, and what is refused."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gumnet.devices import seeded
from gumnet.errors import InputError
from gumnet.geometry.fourier import to_fourier, to_real
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.warp import voxel_coordinates, warp
from gumnet.geometry.wedge import missing_wedge
from gumnet.model.matched_filter import MatchedFilter, MatchedFilterConfig
from gumnet.particles import Particles
from gumnet.training import tune
from gumnet.training.contrast_volumes import HalfParticles, VolumeViewSource, shared_noise
from gumnet.training.tune import judge, tune_matched, tuning_config

BOX = 16
NETWORK = MatchedFilterConfig(grid=12, channels=4, kernels=(3, 3, 3))


def halves(count: int, *, signal: float, box: int = BOX) -> tuple[Particles, Particles]:
    """Particles of one structure in random orientations and a wedge, twice, with independent noise of variance 1."""
    generator = seeded(3)
    places = box / 6 * torch.randn(6, 3, generator=generator)
    squared = (voxel_coordinates(box)[..., None, :] - places).square().sum(-1)
    blob = torch.exp(-squared / 2.5).sum(-1)
    rotations = random_rotations(count, generator=generator, dtype=torch.float32)
    volumes = signal * warp(blob[None], rotations, torch.zeros(count, 3))
    wedge = missing_wedge(box, 60.0)

    def imaged() -> Particles:
        noisy = volumes + torch.randn(volumes.shape, generator=generator)
        return Particles.from_tensors(to_real(wedge * to_fourier(noisy), box), voxel_size_angstrom=8.0, weights=wedge)

    return imaged(), imaged()


def test_halves_of_one_particle_find_each_other() -> None:
    one, other = halves(8, signal=6.0)
    model = MatchedFilter(NETWORK)
    source = VolumeViewSource(HalfParticles(one, other), torch.arange(2, 8), NETWORK.grid)
    same = judge(model, copy.deepcopy(model), source, tuning_config(model))
    assert same.right_before > 0.9
    assert same.chance == pytest.approx(np.log(6))
    assert not same.adopted


def test_pure_noise_stays_at_chance(tmp_path: Path) -> None:
    """Nothing tells which halves belong together but the particle: neither their wedges nor the grid."""
    one, other = halves(40, signal=0.0)
    model = MatchedFilter(NETWORK)
    config = replace(tuning_config(model), steps=3, groups=6, half_precision=False, learning_rate=1e-2)
    found = tune_matched(one, model, tmp_path / "run", config, other=other)
    assert found.chance == pytest.approx(np.log(20))
    # The halves of 20 particles, each way and in four frames, which share their noise: as 20 draws at 1 in 20.
    assert max(found.right_before, found.right_after) < 0.05 + 4 * (0.05 * 0.95 / 20) ** 0.5
    assert min(found.before, found.after) > 0.95 * found.chance
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"model.safetensors", "tuned.safetensors", "tuning.json", "metrics.jsonl"} <= names


def test_views_are_turned_to_their_frame_without_interpolation() -> None:
    """What is at x in a volume is at R x in the view; of a volume that is turned back nothing is lost."""
    box = 15  # odd: a turn of a cube leaves the box in itself
    generator = seeded(0)
    kinds = [torch.randn(3, box, box, box, generator=generator) for _ in range(2)]
    one, other = (Particles.from_tensors(v, voxel_size_angstrom=8.0) for v in kinds)
    source = VolumeViewSource(HalfParticles(one, other), torch.arange(3), box)
    views = source.of(torch.tensor([2, 0]), seeded(7))
    assert not torch.equal(views.rotations[0], torch.eye(3))
    back = warp(views.volumes, views.rotations, torch.zeros(4, 3))
    want = torch.cat([kinds[0][[2, 0]], kinds[1][[2, 0]]])
    want = want - want.mean(dim=(1, 2, 3), keepdim=True)
    want = want / want.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    torch.testing.assert_close(back, want, atol=1e-3, rtol=0)
    torch.testing.assert_close(views.clean, views.volumes.roll(2, 0))


def test_what_has_no_independent_noise_is_refused(tmp_path: Path) -> None:
    one, other = halves(8, signal=1.0)
    assert abs(shared_noise(one, other)) < 0.2
    model = MatchedFilter(NETWORK)
    whole = Particles.from_tensors(_volumes(one) + _volumes(other), voxel_size_angstrom=8.0)
    for second in (one, whole):
        with pytest.raises(InputError, match="share their noise"):
            tune_matched(one, model, tmp_path / "run", other=second)
    assert not (tmp_path / "run").exists()


def test_halves_that_do_not_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = halves(8, signal=1.0)
    model = MatchedFilter(NETWORK)
    with pytest.raises(InputError, match="8 particles in boxes of 16 voxels of 8 A and 7 particles"):
        tune_matched(one, model, tmp_path / "run", other=other.select(range(7)))
    monkeypatch.setattr(tune, "has_stacks", lambda particles: True)
    with pytest.raises(InputError, match="of their own"):
        tune_matched(one, model, tmp_path / "run", other=other)


def _volumes(particles: Particles) -> Tensor:
    return particles.read_volumes(range(len(particles)))
