"""``gumnet align``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gumnet.cli.options import (
    COMMON,
    OUTPUT,
    READING,
    Common,
    Flag,
    Output,
    Reading,
    bad_list_beside,
    check_limits,
    check_model,
    matching_map,
    say,
)
from gumnet.errors import InputError

if TYPE_CHECKING:
    from gumnet.alignment.to_reference import AlignConfig
    from gumnet.particles import Particles

_NUMBERS_IN_MEMORY = 500_000_000
"""Pairs are read in groups whose volumes and weights hold about this many numbers: 2 GB."""


def align(
    particles: Path,
    *,
    out: Path,
    reference: Path | None = None,
    pairs: Path | None = None,
    method: Literal["exhaustive", "gumnet", "ht", "fa"] = "exhaustive",
    model: Path | None = None,
    no_refine: Flag = False,
    symmetry: str = "C1",
    max_shift: float | None = None,
    low_pass: float | None = None,
    local: Flag = False,
    common: Common = COMMON,
    output: Output = OUTPUT,
    reading: Reading = READING,
) -> None:
    """Find the pose of each particle on a reference, or of each pair.

    Example
        gumnet align particles.star --reference map.mrc --out aligned.star
        gumnet align sim --pairs sim/pairs.csv --out pairs.star

    With --reference, OUT holds all particles with their new poses. With --pairs,
    OUT has one row a pair: the second particle, its pose on the first, and the
    name of the first as rlnReferenceImage. For 2D tilt stacks an optimisation set,
    OUT_optimisation_set.star, is written beside it: give that one to other commands.

    Parameters
    ----------
    particles
        Particle table, or folder that gumnet simulate wrote.
    out
        STAR file to write: RELION 5 for a table of RELION 5, else RELION 3.1.
    reference
        Map to align all particles to.
    pairs
        CSV with columns a and b: rows of the table, from 1. b is aligned to a.
    method
        Search over all rotations and shifts, a trained Gum-Net, or a classical
        baseline: H-T align or F&A align.
    model
        Weights of a trained Gum-Net, for --method gumnet.
    no_refine
        Leave out the local refinement that follows the search or the network.
    symmetry
        Symmetry of the reference; C1 so far.
    max_shift
        Largest shift on each axis in voxels; a quarter of the box unless given.
    low_pass
        With --reference: finest resolution to use, in Angstrom.
    local
        With --reference: search near the poses of the table, not everywhere.
    """
    if (reference is None) == (pairs is None):
        raise InputError("give one of --reference and --pairs", cure="for example --reference map.mrc")
    check_model(method, model)
    if pairs is not None and (reading.skip_bad or local or low_pass is not None or symmetry.upper() != "C1"):
        raise InputError("--skip-bad, --local, --low-pass and --symmetry do not go with --pairs", cure="leave them out")
    common.start()
    from gumnet.alignment.to_reference import AlignConfig
    from gumnet.io.atomic import check_free
    from gumnet.io.relion_write import check_tables_free, write_particles

    check_free(out, overwrite=output.overwrite)
    config = AlignConfig(
        method=method,
        refine=not no_refine,
        local=local,
        max_shift=max_shift,
        symmetry=symmetry,
        low_pass_angstrom=low_pass,
        model=model,
        device=common.device_name,
    )
    data = reading.particles(particles, bad_list_beside(out), overwrite=output.overwrite)
    check_limits(data, max_shift=max_shift, low_pass=low_pass)
    check_tables_free(out, data, overwrite=output.overwrite)
    if reference is not None:
        aligned = _to_reference(data, reference, config)
    else:
        assert pairs is not None
        aligned = _pairs(data, pairs, config)
    write_particles(out, aligned, overwrite=output.overwrite)
    scores = aligned.poses.scores
    say(f"{len(aligned)} poses, mean score {float(scores.mean()):.3f}, lowest {float(scores.min()):.3f}: {out}")


def _to_reference(particles: Particles, path: Path, config: AlignConfig) -> Particles:
    """Return the particles with their poses on the map in ``path``."""
    from gumnet.alignment.to_reference import align as run

    return run(particles, matching_map(path, particles), config)


def _pairs(particles: Particles, path: Path, config: AlignConfig) -> Particles:
    """Return the second particle of each pair in the CSV ``path``, with its pose on the first."""
    from gumnet.alignment.pairs import align_pairs
    from gumnet.particles import Poses
    from gumnet.simulation.folder import read_pairs

    rows = read_pairs(path, len(particles))
    a, b = particles.select(rows[:, 0]), particles.select(rows[:, 1])
    parts = []
    size = max(1, _NUMBERS_IN_MEMORY // (4 * particles.box**3))
    for chunk in b.batches(size):
        parts.append(
            align_pairs(
                a.read_volumes(chunk),
                b.read_volumes(chunk),
                weights_a=a.read_weights(chunk),
                weights_b=b.read_weights(chunk),
                method=config.method,
                model=config.model,
                refine=config.refine,
                max_shift=config.max_shift,
                device=config.device,
            )
        )
    table = None if b.table is None else b.table.assign(rlnReferenceImage=list(a.names))
    return replace(b.with_poses(Poses.concatenate(parts)), table=table)
