"""Particles of one structure against one reference: seconds a particle apart from seconds a reference."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from enum import Enum
from typing import Any

import torch
from methods import PEERS, Setting, align_to_reference, cannot_run

import gumnet
from gumnet.benchmark import text_table
from gumnet.benchmark.level import Level
from gumnet.benchmark.measured import Measured, differences
from gumnet.simulation.microscope import FourierImaging
from gumnet.types import Volume, Volumes

AVERAGED = 200
HEAD = text_table.PAIRS_HEAD.replace("s/pair", "s each") + "   s once  (cpu)"


class Reference(Enum):
    """clean: the noise-free structure through the CTF, or average: that of 200 other particles at their true poses."""

    CLEAN = "clean"
    AVERAGE = "average"

    def map(self, structures: Volumes, config: gumnet.SimulationConfig) -> Volume:
        """Return the reference (N, N, N) of the one structure (1, N, N, N)."""
        if self is Reference.CLEAN:
            return FourierImaging(config, has_wedge=False).signal(structures)[0]
        # Other particles: those that are aligned would find their own noise in the reference.
        made = gumnet.simulate(structures, particles=AVERAGED, config=replace(config, seed=config.seed + 1000))
        return gumnet.average(made.particles.with_poses(made.truth), gumnet.AverageConfig(iterations=0)).map


def measure_shared_reference(
    options: argparse.Namespace, structures: Volumes, levels: Sequence[Level], setting: Setting
) -> dict[str, Any]:
    """Measure all methods on particles of the first structure, print the table and return the figures."""
    cells, found = [], []
    print(f"{options.particles} particles of the first structure; reference: {options.reference}")
    print(HEAD)
    for level in levels:
        config = level.config(options.seeds[0])
        made = gumnet.simulate(structures[:1], particles=options.particles, config=config)
        reference = Reference(options.reference).map(structures[:1], config)
        measured: dict[str, Measured] = {}
        for method in options.methods:
            reason = cannot_run(method)
            if reason is not None:
                print(text_table.missing_row(level.snr, level.noise, method, reason), flush=True)
                continue
            rows = torch.arange(
                min(options.peer_particles, options.particles) if method in PEERS else options.particles
            )
            poses, each, once = align_to_reference(method, made.particles.select(rows), reference, setting)
            one = Measured.of(rows, poses, made.truth[rows], each)
            measured[method] = one
            cells.append({**vars(level), "method": method, "seconds_a_reference": asdict(once), **one.figures()})
            row = text_table.row(one, level.snr, level.noise, method)
            print(f"{row}  {once.wall:7.2f} {once.cpu:6.2f}", flush=True)
        found += differences(vars(level), measured)
    print(text_table.differences_table(found))
    return {"reference": options.reference, "cells": cells, "paired_differences": found}
