"""``gumnet align``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gumnet.cli.align_reference import align_to_reference, say_poses
from gumnet.cli.options import (
    COMMON,
    OUTPUT,
    READING,
    Common,
    Flag,
    Output,
    Reading,
    check_limits,
    check_model,
    settled,
)
from gumnet.cli.running import RUNNING, Running
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
    method: Literal["exhaustive", "matched", "gumnet", "ht", "fa", "auto"] = "exhaustive",
    model: Path | None = None,
    no_refine: Flag = False,
    symmetry: str = "C1",
    max_shift: float | None = None,
    low_pass: float | None = None,
    high_pass: float | None = None,
    mask: Path | None = None,
    match_spectrum: Flag = False,
    local: Flag = False,
    cone: float | None = None,
    in_plane: float | None = None,
    memory: float | None = None,
    json: Flag = False,
    common: Common = COMMON,
    output: Output = OUTPUT,
    reading: Reading = READING,
    running: Running = RUNNING,
) -> None:
    """Find the pose of each particle on a reference, or of each pair.

    Example
        gumnet align particles.star --reference map.mrc --out aligned.star
        gumnet align rings.star --reference ring.mrc --symmetry C7 --out new.star
        gumnet align picked.star --reference map.mrc --local --cone 30 \\
          --in-plane 180 --out aligned.star
        gumnet align sim --pairs sim/pairs.csv --out pairs.star
        gumnet align store --reference map.mrc --out all.star --workers 8

    With --reference, OUT holds all particles with their new poses. With --pairs,
    OUT has one row a pair: the second particle, its pose on the first, and the
    name of the first as rlnReferenceImage. For 2D tilt stacks an optimisation set,
    OUT_optimisation_set.star, is written beside it: give that one to other commands.

    With --reference, finished batches are kept in OUT.journal until OUT is written: a
    run that was killed goes on with --resume. Particles that fail though they can be
    read are listed in OUT_failed_particles.txt, and the exit code is 1.

    Parameters
    ----------
    particles
        Particle table, or folder that gumnet simulate or gumnet pack wrote.
    out
        STAR file to write: RELION 5 for a table of RELION 5, else RELION 3.1.
    reference
        Map to align all particles to.
    pairs
        CSV with columns a and b: rows of the table, from 1. b is aligned to a.
    method
        Search over all rotations and shifts (exhaustive), the same on volumes that a
        learned filter cleaned (matched), a trained Gum-Net, a classical baseline (H-T
        align or F&A align), or auto: exhaustive to a map, matched for pairs, as
        measurements advise (docs/benchmarks.md).
    model
        Weights in place of those that ship: a Gum-Net for --method gumnet, a matched
        filter for --method matched.
    no_refine
        Leave out the local refinement that follows the search or the network.
    symmetry
        With --reference: its point group in RELION's setting, such as C7,
        D2, O or I1. Of equivalent poses one is searched, which is quicker.
    max_shift
        Largest shift on each axis in voxels, with --local from where the
        table has it; a quarter of the box unless given.
    low_pass
        With --reference: finest resolution to use, in Angstrom. Not needed
        against noise: each shell counts as its signal-to-noise asks.
    high_pass
        With --reference: coarsest resolution to use, in Angstrom. For
        particles beside membranes or gold, which outweigh them there.
    mask
        With --reference: soft mask from 0 to 1 about what counts in it;
        found from its density unless given, or a sphere of a third of the
        box where none stands clear of noise.
    match_spectrum
        With --reference and --method exhaustive, for 30 particles or more: let a
        hundred of them, aligned first, say how much of each shell of the reference
        particles show. For maps of atoms or sharpened ones, and maps that were
        not made of these particles; docs/science.md says what it gains.
    local
        With --reference: start from the poses of the table; they are refined
        and, with --cone or --in-plane (method exhaustive), searched about.
    cone
        With --local: how far, in degrees, the z axis of the reference may
        tilt from where the table has it; 0 where only --in-plane is given.
        Confidences then say which pose within the range is right.
    in_plane
        With --local: how far, in degrees, a particle may turn about that
        axis, either way; 0 where only --cone is given. 180 for particles
        whose direction is known, as on a membrane, but not their turn.
    memory
        Most memory to use, in GB; 2 on a CPU and a quarter of what is free
        on a GPU unless given.
    json
        Print one JSON object.
    """
    if (reference is None) == (pairs is None):
        raise InputError("give one of --reference and --pairs", cure="for example --reference map.mrc")
    check_model(method, model)
    if pairs is not None:
        _refuse_with_pairs(
            {
                "--skip-bad": reading.skip_bad,
                "--local": local,
                "--cone": cone is not None,
                "--in-plane": in_plane is not None,
                "--low-pass": low_pass is not None,
                "--high-pass": high_pass is not None,
                "--mask": mask is not None,
                "--match-spectrum": match_spectrum,
                "--symmetry": symmetry.strip().upper() != "C1",
                "--workers": running.workers is not None,
                "--cluster": running.cluster is not None,
                "--resume": running.resume,
            }
        )
    if not local and (cone is not None or in_plane is not None):
        raise InputError("--cone and --in-plane are ranges about the poses of the table", cure="add --local")
    common.start()
    from gumnet.alignment.auto import PAIRS, TO_MAP
    from gumnet.alignment.to_reference import AlignConfig
    from gumnet.io.relion_write import check_tables_free, write_particles
    from gumnet.journal import check_start, journal_path

    check_start(out, resume=running.resume, overwrite=output.overwrite)
    config = AlignConfig(
        method=settled(method, TO_MAP if pairs is None else PAIRS, quiet=json),
        refine=not no_refine,
        local=local,
        max_shift=max_shift,
        symmetry=symmetry,
        low_pass_angstrom=low_pass,
        model=model,
        device=common.device_name,
        high_pass_angstrom=high_pass,
        cone_degrees=cone,
        in_plane_degrees=in_plane,
        memory_gigabytes=memory,
        match_spectrum=match_spectrum,
    )
    # A run that goes on may replace what it wrote before.
    overwrite = output.overwrite or (running.resume and journal_path(out).exists())
    data = reading.all_particles(particles)
    check_limits(data, max_shift=max_shift, low_pass=low_pass, high_pass=high_pass)
    check_tables_free(out, data, overwrite=overwrite)
    if pairs is not None:
        aligned = _pairs(data, pairs, config)
        write_particles(out, aligned, overwrite=overwrite)
        say_poses(aligned.poses, out, config.method, json=json)
        return
    assert reference is not None
    align_to_reference(
        data,
        reference,
        mask,
        config,
        out,
        overwrite,
        place=running.place(common),
        output=output,
        reading=reading,
        running=running,
        json=json,
    )


def _refuse_with_pairs(given: dict[str, bool]) -> None:
    """Raise `InputError` for the first option that was given and has no meaning for pairs."""
    reasons = {
        "--skip-bad": "a pair without one of its particles is no pair",
        "--symmetry": "the reference of a pair is a particle with an orientation of its own, and so are its axes",
    }
    for name, was in given.items():
        if was:
            reason = reasons.get(name, "it is about one reference that all particles share")
            raise InputError(f"{name} does not go with --pairs: {reason}", cure=f"leave out {name}")


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
                memory_gigabytes=config.memory_gigabytes,
            )
        )
    table = None if b.table is None else b.table.assign(rlnReferenceImage=list(a.names))
    return replace(b.with_poses(Poses.concatenate(parts)), table=table)
