"""What ``gumnet info`` says of particle tables and of what goes with them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gumnet.cli.info_memory import average_memory_in_words, memory_in_words
from gumnet.cli.info_store import store_facts
from gumnet.cli.info_tomograms import tomogram_facts
from gumnet.cli.options import no_wedge_known
from gumnet.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from gumnet.io.pose_table import PoseTable
    from gumnet.particles import Particles

_FINE, _OBSERVED_SHARE = 0.25, 0.01
"""The tilt range is read off beyond this frequency (cycles per voxel), from weights above this share of the highest."""
_LOOKED_AT = 100
"""Particles whose weights are tried, to read the tilt range off."""
_USES = ("align", "average", "cluster", "pack", "train")
"""Commands that read the images of particles."""
CONVERT = "convert --to "
_IN_ANGSTROM = ("relion3", "relion4", "relion5", "m", "acryo")
_FROM_CORNER = ("relion3.0", "relion3", "relion4", "dynamo", "stopgap", "em", "m", "acryo")
"""Targets of conversions that want a voxel size, or coordinates from the first voxel."""
_VOXELS_WANTED = "the voxel size (--voxel-size)"
_NO_WEIGHTS = "none: all of Fourier space counts as observed, unless --tilt-range says otherwise"
TILT_RANGE, POSES, MISSING = "tilt_range_degrees", "poses", "missing"
NO_POSES = "none, all angles and shifts are 0"
ANGLES = ("rot_degrees", "tilt_degrees", "psi_degrees")


def star_facts(path: Path) -> dict[str, Any] | None:
    """Return what a STAR file holds that goes with particles, and None if it may hold particles."""
    from gumnet.io.check import existing_file
    from gumnet.io.wedge_list import BLOCK, read_wedge_list

    with existing_file(path, "a STAR file").open("rb") as file:
        head = file.read(2**16)
    if re.search(rf"^data_{BLOCK}\b".encode(), head, re.MULTILINE):
        wedges = read_wedge_list(path)
        low, high = min(t[0] for t in wedges.values()), max(t[1] for t in wedges.values())
        return {"format": "STOPGAP wedge list", "tomograms": len(wedges), "tilt_range_degrees": [low, high]}
    if re.search(rb"^data_global\b", head, re.MULTILINE):
        return tomogram_facts(path, _USES)
    return None


def table_facts(
    path: Path, given: Mapping[str, Any], device: torch.device, memory: float | None = None
) -> dict[str, Any]:
    """Return what a particle table holds, and what is missing for which command.

    Parameters
    ----------
    given
        Options for `gumnet.io.read.read_particles`.
    device, memory
        Where alignment would run, and its limit in GB, to say what it takes.
    """
    from gumnet.geometry.rigid import relion_from_matrix
    from gumnet.io.tables import read_pose_table

    table = read_pose_table(path, voxel_size_angstrom=given["voxel_size_angstrom"])
    missing: dict[str, str] = {}
    facts: dict[str, Any] = {"format": _version(table), "particles": len(table)}
    try:
        particles, refused = _read(path, given)
    except InputError as error:
        # A table says something even where its images are not at hand.
        missing |= dict.fromkeys(_USES, str(error))
        facts |= {"images": f"not read: {error.problem}", "voxel_size_angstrom": table.voxel_size_angstrom}
        tilts = _tilts(table.tilt_ranges, None)
        poses, largest, unit = table.rotations, table.shifts, "voxels"
    else:
        # A range that is given takes the place of the table's.
        own = given["tilt_range"] is None and given["wedge_list"] is None
        tilts = _tilts(table.tilt_ranges if own else None, _first_weights(particles))
        facts |= {**_images(particles, table), **store_facts(particles), "box": particles.box}
        facts["memory_to_align"] = memory_in_words(particles, device, memory)
        facts["memory_to_average"] = average_memory_in_words(particles, device, memory)
        facts["voxel_size_angstrom"] = particles.voxel_size_angstrom
        facts |= {"weights": _NO_WEIGHTS} if no_wedge_known(particles) else {}
        poses, largest = particles.poses.rotations, particles.poses.shifts * particles.voxel_size_angstrom
        unit = "angstrom"
        missing |= refused
    missing |= _missing_elsewhere(table, given["voxel_size_angstrom"])
    return {
        **facts,
        **tilts,
        **_places(table),
        POSES: "there" if _any_pose(poses, largest) else NO_POSES,
        **_angles(relion_from_matrix(poses)),
        f"largest_shift_{unit}": round(float(largest.norm(dim=-1).max()), 2),
        "scores": _scores(table.scores),
        "half_sets": _counts(table.half_sets),
        "classes": _counts(table.classes),
        MISSING: missing,
    }


def _read(path: Path, given: Mapping[str, Any]) -> tuple[Particles, dict[str, str]]:
    """Return the particles, and why other commands refuse their images where they lie outside the project folder."""
    from gumnet.io.read import read_particles

    try:
        return read_particles(path, **given, allow_outside=False), {}
    except InputError as error:
        # What is wrong with them for any other reason is wrong here too.
        return read_particles(path, **given), dict.fromkeys(_USES, str(error))


def _tilts(ranges: Tensor | None, weights: Tensor | None) -> dict[str, Any]:
    """Return the lowest and highest tilt: of ``ranges`` (n, 2) or else of ``weights`` (1, N, N, N // 2 + 1).

    Where particles differ, also how many have which range.
    """
    from gumnet.geometry.wedge import wedge_angles_degrees

    if ranges is not None and bool(ranges.isfinite().all()):
        low, high = float(ranges[:, 0].min()), float(ranges[:, 1].max())
        counts = Counter(f"{first:g} to {last:g}" for first, last in ranges.tolist())
        several = {"particles_by_tilts": dict(counts)} if len(counts) > 1 else {}
        return {TILT_RANGE: [round(low, 1), round(high, 1)], **several}
    low, high = (math.nan, math.nan) if weights is None else wedge_angles_degrees(_observed(weights[0]))
    if math.isnan(low):
        return {TILT_RANGE: None}
    return {TILT_RANGE: [round(low, 1), round(high, 1)], "tilt_range_from": "the weights of the first particle"}


def _any_pose(rotations: Tensor, shifts: Tensor) -> bool:
    """Return whether any particle is turned or shifted."""
    import torch

    unturned = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    return bool((rotations != unturned).any()) or bool(shifts.any())


def _missing_elsewhere(table: PoseTable, given_size: float | None) -> dict[str, str]:
    """Return what commands that need no images want and the table does not say: conversions, cutting out, tuning."""
    from gumnet.io.convert import IN_LENGTHS, IN_VOXELS

    missing: dict[str, str] = {}
    if table.voxel_size_angstrom is None:
        missing |= {f"{CONVERT}{target}": _VOXELS_WANTED for target in _IN_ANGSTROM}
    if table.program in IN_LENGTHS and given_size is None:
        missing |= {f"{CONVERT}{target}": _VOXELS_WANTED for target in IN_VOXELS}
    if table.centred:
        sizes = "the sizes of the tomograms (--tomograms or --tomogram-size)"
        for key in (f"{CONVERT}{target}" for target in _FROM_CORNER):
            missing[key] = f"{missing[key]}; {sizes}" if key in missing else sizes
    elif not bool((table.coordinates != 0).any()):
        missing["extract"] = "coordinates in tomograms"
    if not table.stacks_2d:
        missing["tune"] = "2D tilt stacks of RELION 5 or Warp, or the table of the other half tomogram (--other)"
    return missing


def by_reason(missing: Mapping[str, str]) -> dict[str, str]:
    """Return what is missing with the commands that miss the same thing together, as people read it."""
    commands: dict[str, list[str]] = {}
    for command, reason in missing.items():
        commands.setdefault(reason, []).append(command)
    return {
        ", ".join([names[0], *(name.removeprefix(CONVERT) for name in names[1:])]): reason
        for reason, names in commands.items()
    }


def _places(table: PoseTable) -> dict[str, Any]:
    """Return how many tomograms there are, and between which voxels the particles are."""
    if not bool((table.coordinates != 0).any()):
        return {}
    whence = "from_centre" if table.centred else "from_corner"
    return {
        "tomograms": len(set(table.tomograms)),
        **{
            f"{axis}_{whence}_voxels": [round(float(column.min()), 1), round(float(column.max()), 1)]
            for axis, column in zip("xyz", table.positions.T, strict=True)
        },
    }


def _images(particles: Particles, table: PoseTable) -> dict[str, str]:
    """Return whether the images that the table names are there, by kind."""
    from gumnet.cli.info_images import Kind, images_in_words
    from gumnet.io.relion import CTF_IMAGE, IMAGE

    assert particles.table is not None
    kind: Kind = "tilt stacks" if table.stacks_2d else "volumes"
    found, named = particles.table[IMAGE], table.extra.get(IMAGE, particles.table[IMAGE])
    words = {"images": images_in_words(found, named, kind, particles.box)}
    if CTF_IMAGE in table.extra.columns and not table.stacks_2d:
        words["ctf_images"] = images_in_words(
            particles.table[CTF_IMAGE], table.extra[CTF_IMAGE], "weights", particles.box
        )
    return words


def _first_weights(particles: Particles) -> Tensor | None:
    """Return the weights (1, N, N, N // 2 + 1) of the first particle that has some which can be read, or None."""
    for row in range(min(_LOOKED_AT, len(particles))):
        try:
            return particles.read_weights([row])
        except InputError:
            continue  # a file that is missing is said with the images
    return None


def _observed(weights: Tensor) -> Tensor:
    """Return weights (N, N, N // 2 + 1) without what is too weak to count as observed.

    Those of tilt stacks have tails beyond the last tilts, and fall off with the dose.
    """
    from gumnet.geometry.fourier import frequencies

    fine = frequencies(weights.shape[-2]).norm(dim=-1) > _FINE
    strong: Tensor = weights > _OBSERVED_SHARE * (weights * fine).max()
    return weights * strong


def _version(table: PoseTable) -> str:
    """Return the program, and of RELION the version, that writes such a table."""
    if table.program != "RELION":
        return table.program
    return "RELION 5, 2D tilt stacks" if table.stacks_2d else f"RELION {table.version}"


def _angles(angles: Tensor) -> dict[str, Any]:
    return {
        name: [round(float(column.min()), 1), round(float(column.max()), 1)]
        for name, column in zip(ANGLES, angles.T, strict=True)
    }


def _scores(scores: Tensor) -> list[float] | None:
    known = scores[scores.isfinite()]
    return [round(float(known.min()), 4), round(float(known.max()), 4)] if len(known) else None


def _counts(labels: Tensor) -> dict[str, int]:
    """Return how many particles have each label; empty where none has one."""
    import torch

    values, counts = torch.unique(labels, return_counts=True)
    found = {str(int(value)): int(count) for value, count in zip(values, counts, strict=True)}
    return {} if set(found) == {"0"} else found
