"""The figures that the pipeline promises, on real particles and on clean pairs.

    python benchmarks/promises.py --data shared/data

--data is a folder with real-tilt-particles/ (40 ribosomes of a WarpTools export, and a map) and real-subtomogram/ (one
subtomogram of EMPIAR-10045 and EMD-3228). Prints the figures and writes results/promises-DATE.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from common import keep

import gumnet
from gumnet.benchmark.pairs import Pairs
from gumnet.benchmark.real import band_passed_correlation
from gumnet.evaluation.metrics import pair_errors
from gumnet.geometry.so3 import angular_distance_degrees, random_rotations
from gumnet.geometry.warp import warp
from gumnet.geometry.wedge import missing_wedge
from gumnet.io.mrc import read_map
from gumnet.simulation.config import WedgeSide

SEEDS = range(4)


def tilt_particles(folder: Path) -> dict[str, object]:
    """Return what half maps agree on at the poses of the file and at shuffled ones, and the poses that are found."""
    (table,) = folder.glob("*_optimisation_set.star")
    particles = gumnet.read_particles(table)
    halves, shuffled = [], []
    for seed in SEEDS:
        config = gumnet.AverageConfig(iterations=0, seed=seed)
        halves.append(band_passed_correlation(gumnet.average(particles, config).half_maps))
        order = torch.randperm(len(particles), generator=torch.Generator().manual_seed(seed))
        wrong = particles.with_poses(particles.poses[order])
        shuffled.append(band_passed_correlation(gumnet.average(wrong, gumnet.AverageConfig(iterations=0)).half_maps))
    supplied = read_map(next(folder.glob("*reconstruct.mrc")), need_voxel_size=False)[0]
    within = {}
    for name, reference in (("as supplied", supplied), ("mirrored along z", supplied.flip(0).roll(1, 0))):
        found = gumnet.align(particles, reference).poses.rotations
        within[name] = int((angular_distance_degrees(found, particles.poses.rotations) < 15).sum())
    return {"halves": halves, "shuffled": shuffled, "particles": len(particles), "within 15 degrees": within}


def subtomogram(folder: Path) -> dict[str, float]:
    """Return how far apart the poses of one real subtomogram lie that five starts of the reference give."""
    reference = read_map(next(folder.glob("EMD-3228*.mrc")), need_voxel_size=False)[0]
    particle = read_map(next(folder.glob("IS002*.mrc")), need_voxel_size=False)[0]
    generator = torch.Generator().manual_seed(20261122)
    shifts = (torch.rand(5, 3, generator=generator, dtype=torch.float64) * 2 - 1) * 4
    starts = gumnet.Poses.of(random_rotations(5, generator=generator), shifts)
    moved = warp(reference[None], starts.rotations.float(), starts.shifts.float(), oversampling=2)
    wedge = missing_wedge(reference.shape[-1], 60.0)
    found = gumnet.align_pairs(moved, particle.expand_as(moved), weights_b=wedge).compose(starts.inverse())
    return {
        "degrees": float(angular_distance_degrees(found.rotations[:, None], found.rotations[None]).max()),
        "voxels": float(torch.cdist(found.shifts, found.shifts).max()),
    }


def clean_pairs(wedge: WedgeSide) -> dict[str, float]:
    """Return the mean errors of 24 pairs of phantoms at SNR 100."""
    config = gumnet.SimulationConfig(snr=100.0, wedge=wedge, whole_voxel_shifts=False, seed=5)
    pairs = Pairs.of(gumnet.simulate(pairs=24, config=config))
    poses = gumnet.align_pairs(pairs.a, pairs.b, weights_a=pairs.weights_a, weights_b=pairs.weights_b)
    errors = pair_errors(poses, pairs.truth)
    return {"degrees": float(errors.degrees.mean()), "voxels": float(errors.shifts.mean())}


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    figures = {
        "real tilt particles": tilt_particles(data / "real-tilt-particles"),
        "real subtomogram, five starts": subtomogram(data / "real-subtomogram"),
        "SNR 100, wedge on b": clean_pairs("b"),
        "SNR 100, wedge on both": clean_pairs("both"),
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    keep("promises", figures)


if __name__ == "__main__":
    main()
