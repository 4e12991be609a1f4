"""Alignment to one reference, as ``gumnet align`` runs it: with a journal, and a list of what failed."""

from __future__ import annotations

import json as json_format
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gumnet.cli.options import Output, Reading, bad_list_beside, matching_map, matching_mask, say, say_left_out
from gumnet.cli.running import Running
from gumnet.errors import RunError

if TYPE_CHECKING:
    from gumnet.alignment.to_reference import AlignConfig
    from gumnet.engine.place import Place
    from gumnet.engine.work import Failure
    from gumnet.particles import Particles, Poses

CONFIDENT = 0.9
"""Poses of this confidence and above are counted: at least 85 % of them are meant to be right to 15 degrees."""

_FEW = 0.05
"""If a smaller share of the poses is that confident, the map may be of another structure, or its mirror image."""


def align_to_reference(
    particles: Particles,
    reference: Path,
    mask: Path | None,
    config: AlignConfig,
    out: Path,
    overwrite: bool,
    *,
    place: Place,
    output: Output,
    reading: Reading,
    running: Running,
    json: bool = False,
) -> None:
    """Align particles to the map in ``reference`` and write them, with a journal while that is not done."""
    from gumnet.alignment.to_reference import align_tolerantly
    from gumnet.fingerprint import Watched, of_file, of_particles
    from gumnet.io.atomic import check_free, remove_leftovers
    from gumnet.io.relion_write import write_particles
    from gumnet.journal import Journal, journal_path

    for listed in (bad_list_beside(out), _failed_list(out)):
        check_free(listed, overwrite=overwrite)
    volume = matching_map(reference, particles)
    told = _settings(config)
    config = replace(config, mask=None if mask is None else matching_mask(mask, particles))
    files = {"the reference": reference, "the mask": mask, "the model": config.model}
    watched = Watched.of(particles, [path for path in files.values() if isinstance(path, Path)])
    inputs = {name: of_file(path) for name, path in files.items() if isinstance(path, Path)}
    inputs["the particles"] = of_particles(particles)
    with Journal.open(
        journal_path(out), settings=told, inputs=inputs, resume=running.resume, overwrite=output.overwrite
    ) as journal:
        aligned, failures = align_tolerantly(
            particles,
            volume,
            config,
            place=place,
            journal=journal,
            tolerate="all" if reading.skip_bad else "faults",
        )
        watched.check()
        remove_leftovers(out)
        write_particles(out, aligned, overwrite=overwrite)
        say_poses(aligned.poses, out, config.method, json=json)
        if not config.local:
            _warn_of_a_map_that_may_not_fit(aligned.poses)
        _report(failures, particles, out, overwrite=overwrite)
        journal.remove()


def _settings(config: AlignConfig) -> dict[str, object]:
    """Return what a run that goes on must have been told alike, by the names of the options."""
    from gumnet.devices import resolve_device

    names = {
        "--method": config.method,
        "--no-refine": not config.refine,
        "--local": config.local,
        "--max-shift": config.max_shift,
        "--symmetry": config.symmetry.upper(),
        "--low-pass": config.low_pass_angstrom,
        "--high-pass": config.high_pass_angstrom,
        "--cone": config.cone_degrees,
        "--in-plane": config.in_plane_degrees,
        "--memory": config.memory_gigabytes,
        "--match-spectrum": config.match_spectrum,
    }
    # GPUs round otherwise than CPUs, and one result is to be of one kind.
    return {**names, "--device": resolve_device(config.device).type}


def _report(failures: tuple[Failure, ...], particles: Particles, out: Path, *, overwrite: bool) -> None:
    """List the particles that are left out.

    Raises
    ------
    RunError
        If any failed though they can be read.
    """
    from gumnet.io.read import write_bad_list

    failed_list = _failed_list(out)
    if overwrite:
        failed_list.unlink(missing_ok=True)  # those of an earlier try
    for path, by_input in ((bad_list_beside(out), True), (failed_list, False)):
        some = [failure for failure in failures if failure.by_input == by_input]
        if not some:
            continue
        rows = [(failure.row + 1, particles.names[failure.row], failure.reason) for failure in some]
        write_bad_list(path, rows, overwrite=overwrite)
        if by_input:
            say_left_out(len(some), len(particles), path)
        else:
            raise RunError(
                f"{len(some)} of {len(particles)} particles failed and are not in {out}; they are listed in {path} "
                f"(the first: {some[0].reason}); --resume tries them again",
                trace=some[0].trace,
            )


def _failed_list(out: Path) -> Path:
    """Return where the particles are listed that failed though they can be read."""
    return out.with_name(f"{out.stem}_failed_particles.txt")


def say_poses(poses: Poses, out: Path, method: str, *, json: bool) -> None:
    """Print what came out: a line, or one JSON object."""
    say(
        json_format.dumps({**poses_facts(poses), "method": method, "file": str(out)}, indent=2)
        if json
        else f"{poses_in_words(poses)}: {out}"
    )


def _warn_of_a_map_that_may_not_fit(poses: Poses) -> None:
    """Say on standard error, after a search over all rotations, what it may be if hardly a pose is sure."""
    if poses.confidences is None or float((poses.confidences >= CONFIDENT).double().mean()) >= _FEW:
        return
    sys.stderr.write(
        "hardly a pose is sure: the particles tell too little one by one, or the map does not fit them. Look at its "
        "contrast (density is to be white in both), its hand (docs/hand.md; relion_image_handler --invert_hand turns "
        "it), its voxel size, and whether it is of their structure\n"
    )


def poses_facts(poses: Poses) -> dict[str, float | int]:
    """Return the numbers of the closing line by name."""
    facts: dict[str, float | int] = {
        "particles": len(poses),
        "mean_score": float(poses.scores.mean()),
        "lowest_score": float(poses.scores.min()),
    }
    if poses.confidences is not None:
        facts[f"confidence_at_least_{CONFIDENT:g}"] = int((poses.confidences >= CONFIDENT).sum())
    return facts


def poses_in_words(poses: Poses) -> str:
    """Return what the closing line says of the poses."""
    text = f"{len(poses)} poses, mean score {float(poses.scores.mean()):.3f}, lowest {float(poses.scores.min()):.3f}"
    if poses.confidences is None:
        return text
    return f"{text}, {int((poses.confidences >= CONFIDENT).sum())} with a confidence of {CONFIDENT} or more"
