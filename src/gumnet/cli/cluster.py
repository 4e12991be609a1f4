"""``gumnet cluster``."""

from __future__ import annotations

import json as json_format
import re
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
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
    check_limits,
    check_model,
    command_line,
    matching_mask,
    say,
    say_table,
    settled,
)
from gumnet.cli.running import RUNNING, Running
from gumnet.errors import InputError
from gumnet.versions import versions

if TYPE_CHECKING:
    from gumnet.clustering.config import ClusterConfig
    from gumnet.clustering.run import Clustering
    from gumnet.journal import Journal
    from gumnet.particles import Particles


def cluster(
    particles: Path,
    *,
    out: Path,
    k: int | None = None,
    method: Literal["exhaustive", "matched", "gumnet", "ht", "fa", "auto", "poses"] = "exhaustive",
    linkage: Literal["complete", "average", "ward", "single"] = "complete",
    model: Path | None = None,
    refine: bool | None = None,
    max_shift: float | None = None,
    low_pass: float | None = None,
    high_pass: float | None = None,
    mask: Path | None = None,
    memory: float | None = None,
    distances: Path | None = None,
    json: Flag = False,
    common: Common = COMMON,
    output: Output = OUTPUT,
    reading: Reading = READING,
    running: Running = RUNNING,
) -> None:
    """Sort particles into classes by the similarity of all pairs.

    Example
        gumnet cluster particles.star --k 2 --method exhaustive --out classes
        gumnet cluster average/particles.star --method poses --out classes
        gumnet cluster particles.star --k 3 --linkage ward \\
          --distances classes/distances.npz --out three

    Every pair is aligned once (200 particles are 19,900 pairs) or, with --method
    poses, compared at the poses of the table, which takes seconds. The distance of
    two particles is 1 - their correlation on what both observed.

    OUT gets particles.star with class numbers, a map for each class, distances.npz,
    dendrogram.png and .svg, and report.html, all of them or none. Distances
    that are done are kept in OUT.journal: a run that was killed goes on with
    --resume. --workers share the alignment of pairs.

    Parameters
    ----------
    particles
        Particle table, or folder that gumnet simulate or gumnet pack wrote.
    out
        Folder to write.
    k
        How many classes; suggested unless given.
    method
        Search over all rotations and shifts (exhaustive), the same on volumes that a
        learned filter cleaned (matched), a trained Gum-Net, a classical baseline
        (H-T align or F&A align), or the poses of the table as they are. auto is
        matched, as measurements advise (docs/benchmarks.md).
    linkage
        Distance of two groups of particles: that of the farthest two, the mean of all
        pairs, the growth of the variance, or that of the nearest two.
    model
        Weights in place of those that ship: a Gum-Net for --method gumnet, a matched
        filter for --method matched.
    refine
        Refine the poses of each pair. Done after a search unless --no-refine is
        given; with --method poses only if --refine is, and then it takes as long
        as a search.
    max_shift
        Largest shift on each axis in voxels; a quarter of the box unless given.
    low_pass
        Finest resolution to use, in Angstrom. Not needed against noise: each shell
        counts as its signal-to-noise asks.
    high_pass
        Coarsest resolution to use, in Angstrom. For particles beside membranes or
        gold, which outweigh them there.
    mask
        Soft mask from 0 to 1: with --method poses on the reference, else about the
        first particle of a pair. A sphere of a third of the box unless given.
    memory
        Most memory to use, in GB. On a CPU of all workers; 2 to align, and 4 for
        particles that are not in a store, unless given. A quarter of what is free
        on a GPU unless given.
    distances
        distances.npz of an earlier run of these particles, for another k or linkage:
        no pair is aligned again.
    json
        Print one JSON object.
    """
    resume = running.resume
    check_model(method, model)
    if distances is not None and resume:
        raise InputError("--distances are there already, nothing is left to resume", cure="leave out one of the two")
    device = common.start()
    from gumnet.alignment.auto import PAIRS
    from gumnet.clustering.config import ClusterConfig
    from gumnet.clustering.run import cluster as run
    from gumnet.fingerprint import Watched
    from gumnet.io.atomic import check_free_folder
    from gumnet.journal import check_start, journal_path
    from gumnet.report.cluster import CLASS_HEADER, REPORT, class_rows, key_figures, read_distances, write_classes
    from gumnet.report.folder import remove_leftover_folders, whole_folder

    check_start(out, resume=resume, overwrite=output.overwrite, check=check_free_folder)
    going_on = resume and journal_path(out).exists()
    with ExitStack() as stack:
        with whole_folder(out, overwrite=output.overwrite or going_on) as folder:
            start = time.perf_counter()
            data = reading.particles(particles, folder / "bad_particles.txt", overwrite=True, list_ends_in=out)
            check_limits(data, max_shift=max_shift, low_pass=low_pass, high_pass=high_pass)
            config = ClusterConfig(
                k=k,
                method=settled(method, PAIRS, quiet=json),
                linkage=linkage,
                refine=refine,
                max_shift=max_shift,
                low_pass_angstrom=low_pass,
                high_pass_angstrom=high_pass,
                mask=None if mask is None else matching_mask(mask, data),
                model=model,
                device=str(device),
                memory_gigabytes=memory,
                seed=common.first_seed,
            )
            _warn(data, method)
            known = None if distances is None else read_distances(distances, data.names)
            files = {"the mask": mask, "the model": model, "the distances": distances}
            watched = Watched.of(data, files.values())
            journal = stack.enter_context(_journal(out, data, config, files, resume=resume, overwrite=output.overwrite))
            read = time.perf_counter()
            made = run(data, config, distances=known, journal=journal, place=running.place(common))
            seconds = {"reading": read - start, "comparing and averaging": time.perf_counter() - read}
            watched.check()
            write_classes(folder, made)
            settings = {"Particles": str(particles), "Seed": str(common.first_seed), "Device": str(device)}
            _write_report(folder / REPORT, made, settings, seconds)
        remove_leftover_folders(out)  # those of runs that were killed
        journal.remove()
    _remove_other_maps(out, made.k)
    if json:
        from gumnet.report.cluster import cluster_facts

        say(json_format.dumps({**cluster_facts(made), "seconds": seconds, "folder": str(out)}, indent=2))
        return
    say_table([*key_figures(made), ("Time", f"{sum(seconds.values()):.0f} s"), ("Report", str(out / REPORT))])
    if made.suggestion is not None:
        say(made.suggestion.words)
    _say_columns(CLASS_HEADER, class_rows(made))


def _journal(
    out: Path,
    particles: Particles,
    config: ClusterConfig,
    files: dict[str, Path | None],
    *,
    resume: bool,
    overwrite: bool,
) -> Journal:
    """Return the journal of the run: what distances depend on, so that a run that goes on may want another k."""
    from gumnet.devices import resolve_device
    from gumnet.fingerprint import of_file, of_particles
    from gumnet.journal import Journal, journal_path

    settings = {
        "--method": config.method,
        "--refine": config.refines,
        "--max-shift": config.max_shift,
        "--low-pass": config.low_pass_angstrom,
        "--high-pass": config.high_pass_angstrom,
        "--memory": config.memory_gigabytes,
        # GPUs round otherwise than CPUs, and one result is to be of one kind.
        "--device": resolve_device(config.device).type,
    }
    inputs = {name: of_file(path) for name, path in files.items() if path is not None}
    inputs["the particles"] = of_particles(particles)
    return Journal.open(journal_path(out), settings=settings, inputs=inputs, resume=resume, overwrite=overwrite)


def _remove_other_maps(out: Path, k: int) -> None:
    """Remove the class averages that an earlier result left in OUT beyond the k of this one."""
    from gumnet.report.cluster import class_map

    keep = {class_map(number) for number in range(1, k + 1)}
    for path in out.glob("class_*.mrc"):
        if re.fullmatch(r"class_\d{3,}\.mrc", path.name) and path.name not in keep:
            path.unlink()


def _warn(particles: Particles, method: str) -> None:
    """Say on standard error where poses are wanted and the table seems to have none."""
    import torch

    poses = particles.poses
    same = torch.eye(3, dtype=poses.rotations.dtype).expand_as(poses.rotations)
    if method == "poses" and torch.equal(poses.rotations, same) and not bool(poses.shifts.any()):
        sys.stderr.write("the table holds no poses, or all are the same: particles are compared as they are\n")


def _say_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on standard output, one line a row, the columns wide enough for what they hold."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _write_report(path: Path, made: Clustering, settings: dict[str, str], seconds: dict[str, float]) -> None:
    from gumnet.report.cluster import classes_section, key_figures, tree_section
    from gumnet.report.page import write_report
    from gumnet.report.sections import provenance_section

    sections = [
        classes_section(made),
        tree_section(made),
        provenance_section(command_line(), versions(), settings, seconds),
    ]
    lead = f"{len(made.particles)} particles of {settings['Particles']}."
    write_report(path, title="Classes", lead=lead, key_figures=key_figures(made), sections=sections)
