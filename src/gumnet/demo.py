"""The whole pipeline on phantoms, whose truth is known: simulate, align pairs, average without a reference, compare.

Everything goes through files, as it does with real data.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gumnet.alignment.pairs import align_pairs
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.fsc import KNOWN_STRUCTURE_THRESHOLD, fsc, resolution_angstrom
from gumnet.averaging.joint import average
from gumnet.averaging.result import Average
from gumnet.evaluation.metrics import PairErrors, SetErrors, pair_errors, set_errors
from gumnet.geometry.warp import warp
from gumnet.io.read import read_particles
from gumnet.io.relion_write import write_particles
from gumnet.report.average_files import write_average
from gumnet.report.average_steps import iteration_words
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.dataset import Simulation, simulate
from gumnet.simulation.folder import read_pairs, read_truth, write_simulation
from gumnet.types import Volume, Volumes

PAIRS, PARTICLES, AVERAGE = "pairs", "particles", "average"
"""Folders of the demonstration."""
ALIGNED_PAIRS = "pairs_aligned.star"


@dataclass(frozen=True)
class DemoConfig:
    """What the demonstration does.

    Parameters
    ----------
    pairs, pair_snr
        How many pairs are aligned, and their signal-to-noise ratio.
    particles, particle_snr
        How many particles are averaged, and their signal-to-noise ratio.
    box, voxel_size_angstrom
        Side of the volumes in voxels, and the size of a voxel.
    iterations
        How often particles are aligned and averaged.
    seed
        Of everything.
    device
        auto, cpu, cuda or cuda:N.
    """

    pairs: int = 16
    pair_snr: float = 0.3
    particles: int = 80
    particle_snr: float = 0.3
    box: int = 32
    voxel_size_angstrom: float = 12.0
    iterations: int = 6
    seed: int = 0
    device: str = "auto"

    def simulation(self, snr: float) -> SimulationConfig:
        """Return how particles of a signal-to-noise ratio are simulated: one phantom, sub-voxel shifts."""
        return SimulationConfig(
            snr=snr,
            box=self.box,
            voxel_size_angstrom=self.voxel_size_angstrom,
            max_shift=0.1 * self.box,
            whole_voxel_shifts=False,
            wedge="both",
            phantoms=1,
            phantom_seed=self.seed,
            seed=self.seed,
        )


@dataclass(frozen=True)
class DemoResult:
    """What came out, and how it compares with the truth.

    Parameters
    ----------
    pair_errors
        Errors of the aligned pairs.
    particle
        One noisy particle (N, N, N), to show what the average was made from.
    average
        The reference-free average.
    set_errors
        Errors of its particles, after the frame of the average was found.
    truth
        The phantom (N, N, N).
    on_truth
        Map and half maps (3, N, N, N), turned and shifted onto the phantom.
    truth_curve, truth_resolution_angstrom
        Correlation of the map with the phantom, (N // 2 + 1,), and where it falls below 0.5.
    seconds
        Time each step took.
    """

    config: DemoConfig
    pair_errors: PairErrors
    particle: Volume
    average: Average
    set_errors: SetErrors
    truth: Volume
    on_truth: Volumes
    truth_curve: Tensor
    truth_resolution_angstrom: float
    seconds: dict[str, float]


class Stopwatch:
    """Measures steps one after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        """Count the time since the last lap as that of ``step``."""
        now = time.perf_counter()
        self.seconds[step] = now - self._last
        self._last = now


def run_demo(folder: Path, config: DemoConfig, *, tell: Callable[[str], None] = lambda _: None) -> DemoResult:
    """Run the demonstration and write its files below ``folder``, which exists; those of an earlier one are replaced.

    Parameters
    ----------
    tell
        Told in a sentence what happens now.
    """
    watch = Stopwatch()
    tell(f"Simulating {config.pairs} pairs and {config.particles} particles of a phantom")
    made = _simulated(folder / PAIRS, config, pairs=True)
    phantom = made.structures[0]
    _simulated(folder / PARTICLES, config, pairs=False)
    watch.lap("simulating")

    tell(f"Aligning {config.pairs} pairs by exhaustive search")
    errors = _align_pairs(folder, made, config)
    watch.lap("aligning pairs")

    tell(f"Averaging {config.particles} particles without a reference, {config.iterations} iterations")
    particles = read_particles(folder / PARTICLES)
    result = average(
        particles,
        AverageConfig(iterations=config.iterations, seed=config.seed, device=config.device),
        on_iteration=lambda step, *_: tell(f"  {iteration_words(step)}"),
    )
    for note in result.notes:
        tell(f"  {note}")
    write_average(folder / AVERAGE, result, overwrite=True)
    watch.lap("averaging")

    errors_of_set = set_errors(result.particles.poses, read_truth(folder / PARTICLES)[0])
    on_truth = _on_truth(result, errors_of_set)
    curve = fsc(on_truth[0], phantom)
    watch.lap("comparing with the truth")
    return DemoResult(
        config=config,
        pair_errors=errors,
        particle=particles.read_volumes([0])[0],
        average=result,
        set_errors=errors_of_set,
        truth=phantom,
        on_truth=on_truth,
        truth_curve=curve,
        truth_resolution_angstrom=resolution_angstrom(
            curve, config.voxel_size_angstrom, config.box, threshold=KNOWN_STRUCTURE_THRESHOLD
        ),
        seconds=watch.seconds,
    )


def _simulated(folder: Path, config: DemoConfig, *, pairs: bool) -> Simulation:
    settings = config.simulation(config.pair_snr if pairs else config.particle_snr)
    made = simulate(
        pairs=config.pairs if pairs else None, particles=None if pairs else config.particles, config=settings
    )
    write_simulation(folder, made, overwrite=True)
    return made


def _align_pairs(folder: Path, made: Simulation, config: DemoConfig) -> PairErrors:
    particles = read_particles(folder / PAIRS)
    rows = read_pairs(folder / PAIRS, len(particles))
    a, b = particles.select(rows[:, 0]), particles.select(rows[:, 1])
    everything = range(len(rows))
    poses = align_pairs(
        a.read_volumes(everything),
        b.read_volumes(everything),
        weights_a=a.read_weights(everything),
        weights_b=b.read_weights(everything),
        device=config.device,
    )
    write_particles(folder / ALIGNED_PAIRS, b.with_poses(poses), overwrite=True)
    return pair_errors(poses, made.pair_truth())


def _on_truth(result: Average, errors: SetErrors) -> Volumes:
    """Return map and half maps (3, N, N, N) in the frame of the truth: a reference-free average may lie anyhow."""
    maps = torch.cat([result.map[None], result.half_maps]).cpu().double()
    frame = errors.frame[[0, 0, 0]]
    return warp(maps, frame.rotations, frame.shifts, oversampling=2)
