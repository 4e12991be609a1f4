"""A filter tuned on even and odd tilts: what is drawn, and when the tuned one is kept."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from gumnet.devices import seeded
from gumnet.errors import InputError
from gumnet.geometry.fourier import shell_sums, to_fourier, to_real
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.tomography import project
from gumnet.geometry.warp import voxel_coordinates, warp
from gumnet.io.star import write_star
from gumnet.io.tilt_stack import tilt_stack_sources
from gumnet.io.tomograms import read_tomograms
from gumnet.model.matched_filter import MatchedFilter, MatchedFilterConfig, load_filter
from gumnet.particles import Particles, Poses
from gumnet.training.contrast_config import ContrastConfig
from gumnet.training.contrast_tilts import HALVES, TiltViewSource, stacks_of
from gumnet.training.tune import TUNED, judge, tune_matched, tuning_config

BOX, PIXEL = 16, 12.0
TILTS = np.arange(-60.0, 61.0, 6.0)
NETWORK = MatchedFilterConfig(grid=12, channels=4, kernels=(3, 3, 3))


def blob() -> Tensor:
    places = 2.5 * torch.randn(6, 3, generator=seeded(4))
    squared = (voxel_coordinates(BOX)[..., None, :] - places).square().sum(-1)
    return torch.exp(-squared / 2.5).sum(-1)


def tilt_particles(folder: Path, count: int, *, signal: float) -> tuple[Particles, Tensor]:
    """Particles of one structure in random orientations, in stacks with independent noise, and these orientations."""
    turns = torch.tensor(Rotation.from_euler("y", TILTS[:, None], degrees=True).as_matrix())
    generator = seeded(11)
    rotations = random_rotations(count, generator=generator, dtype=torch.float64)
    volumes = warp(blob()[None], rotations.float().mT, torch.zeros(count, 3))
    images = signal * project(volumes, turns.float())
    images = images + torch.randn(images.shape, generator=generator)
    for i, stack in enumerate(images):
        with mrcfile.new(folder / f"{i}.mrcs", overwrite=True) as mrc:
            mrc.set_data(stack.numpy())
            mrc.voxel_size = PIXEL
    series = {"rlnTomoName": ["TS"], "rlnVoltage": 300.0, "rlnSphericalAberration": 2.7, "rlnAmplitudeContrast": 1.0}
    series |= {"rlnTomoTiltSeriesPixelSize": PIXEL, "rlnTomoHand": -1.0}
    series |= {f"rlnTomoSize{axis}": 400.0 for axis in "XYZ"}
    tilts = {"rlnDefocusU": np.zeros(len(TILTS)), "rlnDefocusV": 0.0, "rlnDefocusAngle": 0.0}
    tilts |= {"rlnCtfScalefactor": 1.0, "rlnMicrographPreExposure": 0.0}
    for i, axis in enumerate("XYZ"):
        tilts[f"rlnTomoProj{axis}"] = [f"[{r[i, 0]:.9f},{r[i, 1]:.9f},{r[i, 2]:.9f},0]" for r in turns]
    write_star(folder / "tomograms.star", {"global": pd.DataFrame(series), "TS": pd.DataFrame(tilts)})
    flags = "[" + ",".join("1" * len(TILTS)) + "]"
    frame = pd.DataFrame({"rlnImageName": [f"{i}.mrcs" for i in range(count)]})
    frame = frame.assign(rlnTomoName="TS", rlnTomoVisibleFrames=flags, rlnOpticsGroup=1)
    frame = frame.assign(**{f"rlnCenteredCoordinate{axis}Angst": 0.0 for axis in "XYZ"})
    optics = {"rlnOpticsGroup": [1], "rlnImagePixelSize": [PIXEL], "rlnCtfDataAreCtfPremultiplied": [1]}
    volumes_of, weights_of = tilt_stack_sources(
        frame, pd.DataFrame(optics), read_tomograms(folder / "tomograms.star"), folder
    )
    return Particles(volumes_of, Poses.identity(count), PIXEL, weights=weights_of), rotations


def test_halves_of_the_tilts_are_put_together_in_any_frame(tmp_path: Path) -> None:
    """Turned by R, a half is the weights of its tilts times the structure turned by R after its orientation."""
    particles, orientations = tilt_particles(tmp_path, 2, signal=100.0)
    stacks, _ = stacks_of(particles)
    turns = random_rotations(2, generator=seeded(1), dtype=torch.float64)
    for tilts in HALVES:
        volumes, weights = stacks.turned([0, 1], turns, tilts=tilts)
        truth = warp(blob()[None], (turns @ orientations).float().mT, torch.zeros(2, 3))
        a, b = to_fourier(volumes), to_fourier(to_real(weights * to_fourier(truth), BOX))
        cross = shell_sums((a * b.conj()).real, BOX)[:, 1:6].sum(1)
        norms = [shell_sums(x.abs() ** 2, BOX)[:, 1:6].sum(1) for x in (a, b)]
        assert float((cross / (norms[0] * norms[1]).sqrt()).min()) > 0.97


def test_halves_of_one_particle_find_each_other(tmp_path: Path) -> None:
    particles, _ = tilt_particles(tmp_path, 8, signal=3.0)
    model = MatchedFilter(NETWORK)
    source = TiltViewSource(particles.select(range(2, 8)), torch.arange(6), NETWORK.grid)
    same = judge(model, copy.deepcopy(model), source, tuning_config(model))
    assert same.right_before > 0.9
    assert same.chance == pytest.approx(np.log(6))
    assert (same.gain, same.adopted) == (0.0, False), "no filter is better than itself"


def test_pure_noise_stays_at_chance_and_the_filter_as_it_was(tmp_path: Path) -> None:
    particles, _ = tilt_particles(tmp_path, 40, signal=0.0)
    model = MatchedFilter(NETWORK)
    config = replace(tuning_config(model), steps=3, groups=6, half_precision=False, learning_rate=1e-2)
    found = tune_matched(particles, model, tmp_path / "run", config)
    assert found.chance == pytest.approx(np.log(20))
    # The halves of 20 particles, each way and in four frames, which share their noise: as 20 draws at 1 in 20.
    assert max(found.right_before, found.right_after) < 0.05 + 4 * (0.05 * 0.95 / 20) ** 0.5
    assert min(found.before, found.after) > 0.95 * found.chance
    written, tuned = (load_filter(tmp_path / "run" / name) for name in ("model.safetensors", TUNED))
    for name, tensor in written.state_dict().items():
        assert torch.equal(tensor, (tuned if found.adopted else model).state_dict()[name])
    assert json.loads((tmp_path / "run" / "tuning.json").read_text())["adopted"] == found.adopted


def test_a_better_filter_replaces_a_worse_one_and_not_the_reverse(tmp_path: Path) -> None:
    particles, _ = tilt_particles(tmp_path, 8, signal=1.0)
    source = TiltViewSource(particles, torch.arange(8), NETWORK.grid)
    good = MatchedFilter(NETWORK)
    bad = copy.deepcopy(good)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in bad.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    config = tuning_config(good)
    better, worse = judge(bad, good, source, config), judge(good, bad, source, config)
    assert better.adopted
    assert better.model is good
    assert not worse.adopted
    assert worse.model is good
    assert worse.gain == pytest.approx(-better.gain)
    assert "better" in better.in_words()


def test_volumes_cannot_be_tuned_on_and_why_is_said() -> None:
    particles = Particles.from_tensors(torch.randn(8, BOX, BOX, BOX, generator=seeded(0)), voxel_size_angstrom=PIXEL)
    with pytest.raises(InputError, match="the same noise"):
        tune_matched(particles, MatchedFilter(NETWORK), "unused")


def test_too_few_and_other_architectures_are_refused(tmp_path: Path) -> None:
    particles, _ = tilt_particles(tmp_path, 6, signal=1.0)
    with pytest.raises(InputError, match="too few"):
        tune_matched(particles, MatchedFilter(NETWORK), tmp_path / "run")
    with pytest.raises(InputError, match="architecture"):
        tune_matched(particles, MatchedFilter(NETWORK), tmp_path / "run", ContrastConfig())
