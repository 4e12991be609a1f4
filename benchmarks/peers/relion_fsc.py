"""RELION's relion_postprocess (GPL), run as a program: the correlation of half maps, corrected for a mask."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gumnet.benchmark import relion
from gumnet.io.mrc import write_map
from gumnet.io.star import read_star
from gumnet.types import Volume, Volumes

PROGRAM = "relion_postprocess"
COLUMNS = {
    "unmasked": "rlnFourierShellCorrelationUnmaskedMaps",
    "masked": "rlnFourierShellCorrelationMaskedMaps",
    "randomised": "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps",
    "corrected": "rlnFourierShellCorrelationCorrected",
}


@dataclass(frozen=True)
class RelionCurves:
    """What it found: curves by name, (seeds, N // 2 + 1), and the final resolution of each seed in Angstrom."""

    curves: dict[str, Tensor]
    resolutions_angstrom: list[float]


def missing() -> str | None:
    """Return why it cannot run, or None."""
    return relion.missing(PROGRAM)


def version() -> str:
    """Return its version."""
    return relion.version(PROGRAM)


def postprocess(half_maps: Volumes, mask: Volume, voxel_size_angstrom: float, seeds: Sequence[int]) -> RelionCurves:
    """Return the curves of half maps (2, N, N, N) in a mask (N, N, N), once for each seed of its random phases.

    The mask is forced: without that it falls back to the curve without mask where that reaches farther.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in COLUMNS}
    resolutions = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        halves = [folder / f"run_half{number}_class001_unfil.mrc" for number in (1, 2)]
        for path, volume in zip((*halves, folder / "mask.mrc"), (*half_maps, mask), strict=True):
            write_map(path, volume, voxel_size_angstrom)
        for seed in seeds:
            command: list[str | Path] = [PROGRAM, "--i", halves[0], "--i2", halves[1], "--o", folder / "post", "--mask"]
            command += [folder / "mask.mrc", "--angpix", str(voxel_size_angstrom), "--force_mask"]
            command += ["--randomize_at_fsc", "0.8", "--random_seed", str(seed)]
            relion.run(command, folder)
            blocks = read_star(folder / "post.star")
            for name_, column in COLUMNS.items():
                found[name_].append(torch.tensor(blocks["fsc"][column].to_numpy(float)))
            resolutions.append(float(blocks["general"]["rlnFinalResolution"].iloc[0]))
    return RelionCurves({each: torch.stack(curves) for each, curves in found.items()}, resolutions)
