"""``gumnet info``."""

from __future__ import annotations

import json as json_format
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gumnet.cli.info_memory import memory_in_words
from gumnet.cli.info_store import store_facts, verify_store
from gumnet.cli.options import COMMON, Common, Flag, say
from gumnet.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from gumnet.io.relion_table import RelionTable
    from gumnet.particles import Particles

_FINE, _OBSERVED_SHARE = 0.25, 0.01
"""The tilt range is read off beyond this frequency (cycles per voxel), from weights above this share of the highest."""

_KNOWN = (
    "known are RELION tables (.star), folders with particles.star, MRC files that are not compressed "
    "(.mrc, .mrcs, .map, .rec) and weights of a Gum-Net (.safetensors)"
)
_LOOKED_AT = 100
"""Particles whose weights are tried, to read the tilt range off."""


def info(
    path: Path,
    *,
    json: Flag = False,
    voxel_size: float | None = None,
    verify: Flag = False,
    memory: float | None = None,
    common: Common = COMMON,
) -> None:
    """Say what a particle table, a folder of particles, a map or a model holds, and whether all images are there.

    Example
        gumnet info particles.star
        gumnet info average/map.mrc --json
        gumnet info store --verify

    Parameters
    ----------
    path
        STAR table, folder that gumnet simulate or gumnet pack wrote, MRC file, or weights
        of a Gum-Net.
    json
        Print one JSON object.
    voxel_size
        Voxel size in Angstrom, where the files do not hold it or hold it wrong.
    verify
        Read a store that gumnet pack wrote, whole, and compare it with its checksums.
    memory
        Say what gumnet align takes when told this --memory, in GB.
    """
    device = common.start()
    from gumnet.io.check import existing_file

    if verify:
        verify_store(path)
    if path.suffix.lower() in (".mrc", ".mrcs", ".map", ".rec"):
        facts = _map_facts(path)
    elif path.suffix.lower() == ".safetensors":
        facts = _model_facts(path)
    elif path.is_dir() or path.suffix.lower() == ".star":
        facts = _table_facts(path, voxel_size, device, memory)
    else:
        existing_file(path, "a file")
        raise InputError(f"unknown format {path.suffix or 'without a suffix'}", cure=_KNOWN, path=path)
    if json:
        say(json_format.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        say(f"{name.replace('_', ' ')}: {_in_words(value)}")


def _map_facts(path: Path) -> dict[str, Any]:
    from gumnet.io.mrc_header import read_header

    header = read_header(path)
    sections, rows, columns = header.shape
    depth = header.volume_depth
    return {
        "format": "MRC",
        "volumes": sections // depth,
        "voxels_xyz": [columns, rows, depth],
        "voxel_size_angstrom": header.voxel_size_angstrom,
        "type": header.dtype.name,
    }


def _model_facts(path: Path) -> dict[str, Any]:
    from dataclasses import asdict

    from gumnet.model.weights import load_model

    model = load_model(path)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {"format": "Gum-Net weights", "parameters": parameters, **asdict(model.config)}


def _table_facts(path: Path, voxel_size: float | None, device: torch.device, memory: float | None) -> dict[str, Any]:
    from gumnet.geometry.rigid import relion_from_matrix
    from gumnet.geometry.wedge import wedge_angles_degrees
    from gumnet.io.read import FOLDER_TABLE, read_particles
    from gumnet.io.relion import relion_poses
    from gumnet.io.relion_table import read_relion_table

    if path.is_dir():
        particles = read_particles(path, voxel_size_angstrom=voxel_size)
        path = path / FOLDER_TABLE
    table = read_relion_table(path)
    facts: dict[str, Any] = {"format": _version(table), "particles": len(table.particles)}
    try:
        particles = read_particles(path, voxel_size_angstrom=voxel_size)
    except InputError as error:
        # A table says something even where its images are not at hand.
        poses, _, _ = relion_poses(path, voxel_size_angstrom=voxel_size)
        return {**facts, **_angles(relion_from_matrix(poses.rotations)), "images": f"not read: {error}"}
    weights = _first_weights(particles)
    low, high = (math.nan, math.nan) if weights is None else wedge_angles_degrees(_observed(weights[0]))
    shifts = (particles.poses.shifts * particles.voxel_size_angstrom).norm(dim=-1)
    return {
        **facts,
        **_images(particles, table),
        **store_facts(particles),
        "box": particles.box,
        "voxel_size_angstrom": particles.voxel_size_angstrom,
        "tilt_range_degrees": None if math.isnan(low) else [round(low, 1), round(high, 1)],
        **_angles(relion_from_matrix(particles.poses.rotations)),
        "largest_shift_angstrom": round(float(shifts.max()), 2),
        "half_sets": _counts(particles.half_sets),
        "classes": _counts(particles.classes),
        "memory_to_align": memory_in_words(particles, device, memory),
    }


def _images(particles: Particles, table: RelionTable) -> dict[str, str]:
    """Return whether the images that the table names are there, by kind."""
    from gumnet.cli.info_images import Kind, images_in_words
    from gumnet.io.relion import CTF_IMAGE, IMAGE
    from gumnet.io.relion_optics import are_tilt_stacks

    assert particles.table is not None
    stacks = are_tilt_stacks(table)
    kind: Kind = "tilt stacks" if stacks else "volumes"
    words = {"images": images_in_words(particles.table[IMAGE], table.particles[IMAGE], kind, particles.box)}
    if CTF_IMAGE in table.particles.columns and not stacks:
        words["ctf_images"] = images_in_words(
            particles.table[CTF_IMAGE], table.particles[CTF_IMAGE], "weights", particles.box
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


def _version(table: RelionTable) -> str:
    """Return the version of RELION that writes such a table, told by what is only there."""
    columns = set(table.particles.columns)
    if table.stacks_2d or "rlnCenteredCoordinateXAngst" in columns:
        return "RELION 5, 2D tilt stacks" if table.stacks_2d else "RELION 5"
    # Not rlnTomoParticleName: gumnet names particles so in its own tables of version 3.1.
    if {"rlnTomoName", "rlnTomoSubtomogramRot"} & columns:
        return "RELION 4"
    return "RELION 3.0" if table.optics is None else "RELION 3.1"


def _angles(angles: Tensor) -> dict[str, Any]:
    names = ("rot_degrees", "tilt_degrees", "psi_degrees")
    return {
        name: [round(float(column.min()), 1), round(float(column.max()), 1)]
        for name, column in zip(names, angles.T, strict=True)
    }


def _counts(labels: Tensor) -> dict[str, int]:
    """Return how many particles have each label; empty where none has one."""
    import torch

    values, counts = torch.unique(labels, return_counts=True)
    found = {str(int(value)): int(count) for value, count in zip(values, counts, strict=True)}
    return {} if set(found) == {"0"} else found


def _in_words(value: Any) -> str:
    if value is None or value == {}:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{count} of {label}" for label, count in value.items())
    if isinstance(value, list) and len(value) == 2:
        return f"{value[0]:g} to {value[1]:g}"
    return " x ".join(str(part) for part in value) if isinstance(value, list | tuple) else str(value)
