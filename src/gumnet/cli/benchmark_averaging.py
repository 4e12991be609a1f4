"""``gumnet benchmark averaging``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gumnet.cli.benchmark_options import (
    Colours,
    Names,
    Paths,
    check_snrs,
    command_without_folders,
    file_prints,
    option_names,
    ready_methods,
    resumable,
)
from gumnet.cli.options import COMMON, OUTPUT, Common, Flag, Numbers, Output, say
from gumnet.errors import InputError

if TYPE_CHECKING:
    from gumnet.benchmark.eta import Eta

PARTICLES, QUICK_PARTICLES = 500, 24
ITERATIONS, QUICK_ITERATIONS = 8, 2
QUICK_SNRS = (10.0,)


def averaging(
    *,
    out: Path,
    quick: Flag = False,
    structure: Path | None = None,
    map_voxel_size: float | None = None,
    methods: Names = None,
    model: Paths = None,
    particles: int | None = None,
    snr: Numbers = None,
    noise: Colours = None,
    iterations: int | None = None,
    max_shift: float = 6.4,
    resume: Flag = False,
    common: Common = COMMON,
    output: Output = OUTPUT,
) -> None:
    """Measure what every method averages from nothing: Table 2 of the Gum-Net paper, on this machine.

    Example
        gumnet benchmark averaging --out averaging --quick
        gumnet benchmark averaging --out averaging --structure 5T2C.mrc --map-voxel-size 12

    All rows get the same simulated particles of one structure: the methods of pairs
    align to the average and average again, joint alignment finds its own first maps,
    RELION 3.1 runs where relion_refine is on the PATH (not with --quick, unless
    named). Two rows know what no method does: the poses that the particles were made
    with, and those of a search against the structure without noise (bound).

    OUT gets averaging.md to read, averaging.csv and averaging.json, all of them or
    none. The full run takes hours, with RELION a day: what is finished is kept in
    OUT.journal, and a run that was killed goes on with --resume.

    Parameters
    ----------
    out
        Folder to write.
    quick
        One level and few particles, in under five minutes on two cores: to see that
        everything runs.
    structure
        Map (MRC) or atoms (PDB, mmCIF); a built-in phantom unless given. The paper
        has the ribosome 5T2C.
    map_voxel_size
        Voxel size in Angstrom of a map whose header does not hold it.
    methods
        Rows of the table; all that can run here unless given.
    model
        Weights of trained Gum-Nets, one or more.
    particles
        In a set: 500, or 24 with --quick.
    snr
        Levels: 0.1, 0.05, 0.03 and 0.01 unless given, or 10 with --quick.
    noise
        Colours of the noise; coloured unless given.
    iterations
        Of the methods of pairs: 8, or 2 with --quick.
    max_shift
        Largest shift of the particles on each axis, in voxels.
    resume
        Go on with a run that was killed or failed: what it finished is not done again.
    """
    device = common.start()
    import torch

    from gumnet.benchmark import relion
    from gumnet.benchmark.aligning import Setting
    from gumnet.benchmark.averaging import AveragingPlan, measure_averages
    from gumnet.benchmark.level import BOX, PAPER_SNRS, VOXEL_SIZE_ANGSTROM, Level
    from gumnet.benchmark.record import provenance
    from gumnet.benchmark.rows import BOUND, JOINT, RELION, TRUE, check_rows, load_networks, pair_rows
    from gumnet.benchmark.structures import Structures

    source = provenance(command_without_folders())
    check_snrs(snr)
    count = particles if particles is not None else QUICK_PARTICLES if quick else PARTICLES
    steps = iterations if iterations is not None else QUICK_ITERATIONS if quick else ITERATIONS
    if count < 4:
        raise InputError(f"--particles {count} is too few", cure="give 4 or more")
    if steps < 1:
        raise InputError(f"--iterations {steps} is not possible", cure="give 1 or more")
    known = (TRUE, BOUND, *pair_rows(), "ht-refined", "fa-refined", JOINT, RELION)
    default = tuple(row for row in known[:-1] if row not in ("ht-refined", "fa-refined"))
    rows = check_rows(methods or (default if quick else (*default, RELION)), known)
    setting = Setting(max_shift, VOXEL_SIZE_ANGSTROM, device=str(device))
    ready, not_run = ready_methods(rows, setting, load_networks(model or [], BOX, device))
    if RELION in rows and (reason := relion.missing(relion.REFINE)) is not None:
        not_run[RELION] = reason
    running = tuple(row for row in rows if row not in not_run)
    if not running:
        raise InputError(f"no row can run: {'; '.join(not_run.values())}", cure="give others with --methods")
    snrs = tuple(snr) if snr else QUICK_SNRS if quick else PAPER_SNRS[1:]
    colours = noise or ["coloured"]
    plan = AveragingPlan(
        Structures.load([] if structure is None else [structure], map_voxel_size, 1),
        tuple(Level.of(value, colour) for colour in colours for value in snrs),
        running,
        count,
        steps,
        max_shift,
        common.first_seed,
        str(device),
        torch.get_num_threads(),
    )
    options = {
        "--quick": quick,
        "--methods": list(running),
        "--particles": count,
        "--snr": list(snrs),
        "--noise": list(colours),
        "--iterations": steps,
        "--max-shift": max_shift,
        "--map-voxel-size": map_voxel_size,
        "--seed": common.first_seed,
        "--device": device.type,
    }
    inputs = file_prints([*([] if structure is None else [structure]), *(model or [])])
    with resumable(out, options, inputs, resume=resume, output=output) as (folder, journal):
        say(f"{plan.structures.words()}; {count} particles in each of {len(plan.levels)} sets")
        for row, reason in not_run.items():
            say(f"not run: {row}: {reason}")
        cells = measure_averages(plan, ready, journal=journal, tell=_say_cell)
        record = {
            **source,
            "benchmark": "averaging",
            "options": option_names(options),
            "structures": plan.structures.words(),
            "not_run": not_run,
            "relion": None,
            "cells": cells,
        }
        if RELION in running:
            record["relion"] = f"{relion.version(relion.REFINE)}, {plan.schedule.words()}"
        _write(folder, record)
    say(f"Look at:  {out / 'averaging.md'}")


def _write(folder: Path, record: dict[str, Any]) -> None:
    from gumnet.benchmark.averaging_report import averaging_markdown
    from gumnet.benchmark.record import write_csv, write_record

    write_record(folder / "averaging.json", record)
    columns = ("snr", "colour", "method", "resolution_truth", "resolution_halves", "rotation", "failure_rate")
    rows = [
        {**{name: cell.get(name, "") for name in columns}, **{f"{k}_seconds": v for k, v in cell["seconds"].items()}}
        for cell in record["cells"]
    ]
    write_csv(folder / "averaging.csv", rows)
    (folder / "averaging.md").write_text(averaging_markdown(record), encoding="utf-8")


def _say_cell(cell: dict[str, Any], eta: Eta) -> None:
    truth, halves = (
        "none" if value is None else f"{value:.1f} A" for value in (cell["resolution_truth"], cell["resolution_halves"])
    )
    say(
        f"SNR {cell['snr']:g} {cell['colour']:11} {cell['method']:15} structure {truth}, halves {halves}, "
        f"{cell['seconds']['wall']:.0f} s; {eta.words()}"
    )
