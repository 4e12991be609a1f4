"""Poses from the columns of RELION tables, and back.

The volume is the frame. RELION 4 and 5 extract a pseudo-subtomogram turned by ``A_sub`` (rlnTomoSubtomogramRot, Tilt,
Psi), and the particle lies in that volume at ``A_particle`` (rlnAngleRot, Tilt, Psi), with both matrices mapping the
reference's side to the tomogram's. So the pose here is ``R = A_particle`` alone. In the tomogram the particle's
orientation is ``A_sub @ A_particle`` and its position is ``coordinate - A_sub @ origin / pixel`` (RELION's
``ParticleSet::getMatrix3x3`` and ``getPosition``); `tomogram_rotations` gives the former.

RELION's origin is the shift that it applies to a particle to centre it, so the particle is at ``t = -origin``.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gumnet.errors import InputError
from gumnet.geometry.rigid import matrix_from_relion, relion_from_matrix
from gumnet.io.relion_table import numbers, optional_numbers, optional_scores
from gumnet.particles import Poses
from gumnet.types import Rotations

if TYPE_CHECKING:
    import pandas as pd

ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
SUBTOMOGRAM_ANGLES = ("rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi")
ORIGINS = ("rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst")
ORIGINS_LONG = ("rlnOriginXAngstrom", "rlnOriginYAngstrom", "rlnOriginZAngstrom")
"""What RELION 3.1's documentation prints for `ORIGINS`."""
ORIGINS_PIXELS = ("rlnOriginX", "rlnOriginY", "rlnOriginZ")
"""The columns of RELION 3.0."""
SCORE = "gumnetScore"
"""Alignment scores. None of RELION's columns means this; RELION keeps columns that it does not know."""
CONFIDENCE = "gumnetConfidence"
"""Posterior probability that the rotation is right to 15 degrees."""
SPREAD = "gumnetAngularSpread"
"""Angular spread of the posterior, in degrees."""


def poses_from_table(frame: pd.DataFrame, voxel_size_angstrom: float | None, path: Path) -> Poses:
    """Return the poses of the particles in their volumes, float64.

    Angles that the table lacks altogether are zero, as in RELION: such particles were picked but not aligned yet.

    Parameters
    ----------
    voxel_size_angstrom
        Needed where origins are in Angstrom and not zero.
    """
    angles = optional_numbers(frame, ANGLES, path)
    rotations = matrix_from_relion(torch.zeros(len(frame), 3, dtype=torch.float64) if angles is None else angles)
    origins = torch.zeros(len(frame), 3, dtype=torch.float64)
    for columns in (ORIGINS, ORIGINS_LONG):
        in_angstrom = optional_numbers(frame, columns, path)
        if in_angstrom is not None:
            origins = in_angstrom / _voxel_size_for(in_angstrom, voxel_size_angstrom, columns[0], path)
            break
    else:
        in_pixels = optional_numbers(frame, ORIGINS_PIXELS, path)
        if in_pixels is not None:
            origins = in_pixels
    scores = optional_scores(frame, SCORE, path)
    if scores is None:
        scores = torch.full((len(frame),), math.nan, dtype=torch.float64)
    confidences, spreads = (optional_scores(frame, column, path) for column in (CONFIDENCE, SPREAD))
    return Poses(rotations, -origins, scores, confidences, spreads)


def _voxel_size_for(origins: torch.Tensor, voxel_size: float | None, column: str, path: Path) -> float:
    if voxel_size is not None:
        return voxel_size
    if bool((origins == 0).all()):
        return 1.0
    raise InputError(
        f"{column} is in Angstrom and the voxel size is not known",
        cure="give the voxel size in Angstrom with --voxel-size",
        path=path,
    )


def box_rotations(frame: pd.DataFrame, path: Path) -> Rotations:
    """Return ``A_sub`` (n, 3, 3), from each box to its tomogram; identities where boxes were cut out unturned."""
    angles = optional_numbers(frame, SUBTOMOGRAM_ANGLES, path)
    return matrix_from_relion(torch.zeros(len(frame), 3, dtype=torch.float64) if angles is None else angles)


def tomogram_rotations(frame: pd.DataFrame, path: Path) -> Rotations:
    """Return the orientations (n, 3, 3) of the particles in their tomograms: ``A_sub @ A_particle``."""
    return box_rotations(frame, path) @ matrix_from_relion(numbers(frame, ANGLES, path))


def put_poses(frame: pd.DataFrame, poses: Poses, voxel_size_angstrom: float) -> pd.DataFrame:
    """Return a copy of the table with the angles, the origins in Angstrom, and the scores where there are any.

    The angles of the subtomograms stay, so the orientations in the tomogram follow.
    """
    frame = frame.drop(columns=[c for c in (*ORIGINS_LONG, *ORIGINS_PIXELS) if c in frame.columns])
    angles = relion_from_matrix(poses.rotations.detach().cpu().to(torch.float64))
    origins = 0.0 - poses.shifts.detach().cpu().to(torch.float64) * voxel_size_angstrom  # 0, and not -0
    for i in range(3):
        frame[ANGLES[i]] = angles[:, i].numpy()
        frame[ORIGINS[i]] = origins[:, i].numpy()
    columns = ((SCORE, poses.scores), (CONFIDENCE, poses.confidences), (SPREAD, poses.spreads_degrees))
    for name, values in columns:
        if values is not None and bool(values.isfinite().any()):
            frame[name] = values.detach().cpu().to(torch.float64).numpy()
        elif name in frame.columns:
            frame = frame.drop(columns=name)
    return frame
