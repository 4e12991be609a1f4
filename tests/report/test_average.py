from __future__ import annotations

import math
from dataclasses import replace

import torch
from oracles.half_maps import noisy_phantom

from gumnet.averaging.fsc import fsc, resolution_angstrom
from gumnet.averaging.result import Average
from gumnet.geometry.fourier import to_fourier, to_real
from gumnet.geometry.wedge import missing_wedge
from gumnet.particles import Particles
from gumnet.report.average import direction_words, map_section

BOX, VOXEL = 24, 10.0


def average_of(halves: torch.Tensor) -> Average:
    """Return half maps as the average that they would come from."""
    curve = fsc(halves[0], halves[1])
    return Average(
        map=halves.mean(dim=0),
        half_maps=halves,
        fsc=curve,
        fsc_unmasked=curve,
        resolution_angstrom=resolution_angstrom(curve, VOXEL, BOX),
        particles=Particles.from_tensors(halves, voxel_size_angstrom=VOXEL),
        history=(),
    )


def test_the_report_says_where_the_resolution_depends_on_direction(generator: torch.Generator) -> None:
    _, halves = noisy_phantom(BOX, 0.1, generator)
    assert "same resolution in all directions" in direction_words(average_of(halves))
    wedged = to_real(to_fourier(halves) * missing_wedge(BOX, 60.0), BOX)
    said = map_section(average_of(wedged)).paragraphs[-1]
    assert "along z" in said
    assert "preferred orientation or missing wedge" in said


def test_without_resolution_there_is_no_word_on_directions(generator: torch.Generator) -> None:
    _, halves = noisy_phantom(BOX, 0.1, generator)
    paragraphs = map_section(replace(average_of(halves), resolution_angstrom=math.inf)).paragraphs
    assert len(paragraphs) == 1
    assert paragraphs[0].startswith("The half maps do not agree")
