"""What users are promised of the whole pipeline, through the public API alone."""

from pathlib import Path

import pytest
import torch

import gumnet
from gumnet.evaluation.metrics import pair_errors
from gumnet.geometry.fourier import frequencies, to_fourier, to_real


@pytest.mark.parametrize("wedge", ["b", "both"])
def test_search_finds_clean_pairs_to_a_fraction_of_a_degree_and_of_a_voxel(wedge):
    config = gumnet.SimulationConfig(snr=100.0, wedge=wedge, phantoms=2, whole_voxel_shifts=False, seed=3)
    made = gumnet.simulate(pairs=6, config=config)
    rows_a, rows_b = made.pairs.T.tolist()
    poses = gumnet.align_pairs(
        made.particles.read_volumes(rows_a),
        made.particles.read_volumes(rows_b),
        weights_a=made.particles.read_weights(rows_a),
        weights_b=made.particles.read_weights(rows_b),
    )
    errors = pair_errors(poses, made.pair_truth())
    assert errors.degrees.mean() < 1.0
    assert errors.shifts.mean() < 0.2


def test_half_maps_of_real_particles_at_the_poses_of_their_file_agree(shared_data: Path):
    (path,) = (shared_data / "real-tilt-particles").glob("*_optimisation_set.star")
    half_maps = gumnet.average(gumnet.read_particles(path), gumnet.AverageConfig(iterations=0)).half_maps.double()
    k = frequencies(32, dtype=torch.float64).norm(dim=-1)
    band = to_real(to_fourier(half_maps) * ((k > 0.06) & (k < 0.3)), 32).flatten(1)
    assert torch.corrcoef(band)[0, 1] > 0.33  # measured 0.36
