"""Averages of a known structure, as the averaging would return them, without running it."""

from __future__ import annotations

from dataclasses import replace

import torch
from oracles.half_maps import noisy_phantom

from gumnet.averaging.fsc import fsc, resolution_angstrom
from gumnet.averaging.result import Average, Iteration
from gumnet.averaging.start import StartStep
from gumnet.geometry.so3 import random_rotations
from gumnet.particles import Particles, Poses
from gumnet.types import Volumes

BOX, VOXEL_ANGSTROM = 24, 10.0


def average_of(halves: Volumes) -> Average:
    """Return half maps as the average that they would come from; its two particles are the half maps."""
    curve = fsc(halves[0], halves[1])
    return Average(
        map=halves.mean(dim=0),
        half_maps=halves,
        fsc=curve,
        fsc_unmasked=curve,
        resolution_angstrom=resolution_angstrom(curve, VOXEL_ANGSTROM, BOX),
        particles=Particles.from_tensors(halves, voxel_size_angstrom=VOXEL_ANGSTROM),
        history=(),
    )


def full_average(
    generator: torch.Generator, *, particles: int = 24, class_number: int = 1, noise: float = 0.15
) -> Average:
    """Return an average with poses, confidences, history and starts; every fourth particle is unsure."""
    _, halves = noisy_phantom(BOX, noise, generator)
    poses = Poses(
        random_rotations(particles, generator=generator),
        torch.randn(particles, 3, generator=generator, dtype=torch.float64),
        torch.rand(particles, generator=generator, dtype=torch.float64),
        torch.where(torch.arange(particles) % 4 == 0, 0.25, 0.9).double(),
        torch.full((particles,), 4.0, dtype=torch.float64),
    )
    history = tuple(
        Iteration(i, 60.0 / i, 0.3 + 0.1 * i, 50.0 / i, 90.0 / i**3, 1.0 / i, class_number) for i in (1, 2, 3)
    )
    starts = tuple(
        StartStep(start, shells, 0.1 * step + 0.02 * start, (1.0,), 0.5)
        for _half in (1, 2)
        for shells in (4, 5)
        for start in (1, 2)
        for step in range(4)
    )
    return replace(
        average_of(halves),
        particles=Particles.from_tensors(
            torch.zeros(1, BOX, BOX, BOX).expand(particles, -1, -1, -1),
            voxel_size_angstrom=VOXEL_ANGSTROM,
            poses=poses,
            half_sets=torch.arange(particles) % 2 + 1,
            classes=torch.full((particles,), class_number),
        ),
        history=history,
        starts=starts,
    )


def classed_average(generator: torch.Generator) -> Average:
    """Return an average of two classes of 24 and 12 particles."""
    parts = (full_average(generator), full_average(generator, particles=12, class_number=2, noise=0.4))
    particles = parts[0].particles
    both = Particles.from_tensors(
        torch.zeros(1, BOX, BOX, BOX).expand(36, -1, -1, -1),
        voxel_size_angstrom=VOXEL_ANGSTROM,
        poses=Poses.concatenate([part.particles.poses for part in parts]),
        half_sets=torch.cat([part.particles.half_sets for part in parts]),
        classes=torch.cat([part.particles.classes for part in parts]),
    )
    assert len(particles) == 24
    return replace(
        parts[0], particles=both, classes=parts, history=tuple(step for part in parts for step in part.history)
    )
