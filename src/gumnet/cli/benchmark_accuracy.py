"""``gumnet benchmark accuracy``."""

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
from gumnet.cli.options import COMMON, OUTPUT, READING, Common, Flag, Numbers, Output, Reading, say
from gumnet.errors import InputError

if TYPE_CHECKING:
    from gumnet.benchmark.accuracy import Cell
    from gumnet.benchmark.eta import Eta

PAIRS, QUICK_PAIRS = 500, 16
QUICK_SNRS = (100.0, 0.1)


def accuracy(
    *,
    out: Path,
    quick: Flag = False,
    structures: Paths = None,
    map_voxel_size: float | None = None,
    methods: Names = None,
    model: Paths = None,
    pairs: int | None = None,
    snr: Numbers = None,
    noise: Colours = None,
    real_particles: Path | None = None,
    real_pairs: int = 100,
    resume: Flag = False,
    common: Common = COMMON,
    output: Output = OUTPUT,
    reading: Reading = READING,
) -> None:
    """Measure how well every method aligns pairs: Table 1 of the Gum-Net paper, on this machine.

    Example
        gumnet benchmark accuracy --out accuracy --quick
        gumnet benchmark accuracy --out accuracy \\
          --structures 5LQW.mrc 5T2C.mrc --map-voxel-size 12 --model gumnet.safetensors
        gumnet benchmark accuracy --out real --snr 100 --noise white --pairs 20 \\
          --real-particles particles_optimisation_set.star

    All methods get the same simulated pairs. Errors of rotation and shift, failures
    and times have 95 % intervals, and the order of methods at each level is tested.
    Rows that cannot run here, such as a network without weights, are named with the
    reason.

    OUT gets accuracy.md to read, accuracy.csv, accuracy.json with every pair, and
    the figure accuracy.png and .svg, all of them or none. The full run takes hours:
    what is finished is kept in OUT.journal, and a run that was killed goes on with
    --resume.

    Parameters
    ----------
    out
        Folder to write.
    quick
        Two levels and few pairs of one structure, in under five minutes on two cores: to see
        that everything runs. Joint alignment, which needs more particles for noisy
        levels, is measured at SNR 100 alone.
    structures
        Maps (MRC) or atoms (PDB, mmCIF); five built-in phantoms unless given.
    map_voxel_size
        Voxel size in Angstrom of maps whose header does not hold it.
    methods
        Rows of the table; all that this version has unless given. ht and fa are as
        published, gumnet is the network of --model, or else the one that ships;
        ht-refined, fa-refined and gumnet-refined have our refinement after them. joint
        is gumnet average of all particles of a structure, joint-mixed of all structures
        at once; bound is the search against the noise-free structure.
    model
        Weights of trained Gum-Nets, one or more: the paper's network, and its
        ablations MP, AP and SC. Each file says which it is.
    pairs
        In a cell, all structures together: 500, or 16 with --quick.
    snr
        Levels: 100, 0.1, 0.05, 0.03 and 0.01 unless given.
    noise
        Colours of the noise, all three unless given: white; coloured, half through
        the CTF and half low-passed; tilt-series, projected and reconstructed.
    real_particles
        Particle table with poses: each method starts from none, and what it finds is
        compared with them.
    real_pairs
        How many random pairs of these are aligned.
    resume
        Go on with a run that was killed or failed: what it finished is not done again.
    """
    device = common.start()
    from gumnet.benchmark.accuracy import AccuracyPlan, measure
    from gumnet.benchmark.accuracy_record import accuracy_figures
    from gumnet.benchmark.aligning import Setting
    from gumnet.benchmark.found import by_bound, by_joint, by_method
    from gumnet.benchmark.level import BOX, COLOURS, MAX_SHIFT, PAPER_SNRS, VOXEL_SIZE_ANGSTROM, Level
    from gumnet.benchmark.real import RealSet, measure_real
    from gumnet.benchmark.record import provenance
    from gumnet.benchmark.rows import BOUND, JOINT, MIXED, check_rows, default_rows, known_rows, load_networks
    from gumnet.benchmark.structures import PHANTOMS, Structures
    from gumnet.fingerprint import of_particles

    source = provenance(command_without_folders())
    check_snrs(snr)
    if real_pairs < 1:
        raise InputError(f"--real-pairs {real_pairs} is not possible", cure="give 1 or more")
    rows = check_rows(methods or default_rows(), known_rows())
    setting = Setting(MAX_SHIFT, VOXEL_SIZE_ANGSTROM, device=str(device))
    loaded = Structures.load((structures or [])[: 1 if quick else None], map_voxel_size, 1 if quick else PHANTOMS)
    ready, not_run = ready_methods(rows, setting, load_networks(model or [], BOX, device))
    running = tuple(row for row in rows if row not in not_run)
    if not running:
        raise InputError(f"no row can run: {'; '.join(not_run.values())}", cure="give others with --methods")
    count = pairs if pairs is not None else QUICK_PAIRS if quick else PAIRS
    snrs = tuple(snr) if snr else QUICK_SNRS if quick else PAPER_SNRS
    levels = tuple(Level.of(value, colour) for colour in noise or COLOURS for value in dict.fromkeys(snrs))
    plan = AccuracyPlan(loaded, levels, running, count, common.first_seed, {JOINT: 1.0, MIXED: 1.0} if quick else None)
    runs = {row: by_method(method) for row, method in ready.items()}
    runs |= {JOINT: by_joint(setting, common.first_seed), MIXED: by_joint(setting, common.first_seed)}
    runs[BOUND] = by_bound(setting)
    options = {
        "--quick": quick,
        "--methods": list(running),
        "--pairs": count,
        "--snr": list(snrs),
        "--noise": list(noise or COLOURS),
        "--real-pairs": real_pairs,
        "--map-voxel-size": map_voxel_size,
        "--seed": common.first_seed,
        "--device": device.type,
    }
    inputs = file_prints([*(structures or []), *(model or [])])
    if real_particles is not None:
        inputs["the real particles"] = of_particles(reading.all_particles(real_particles))
    with resumable(out, options, inputs, resume=resume, output=output) as (folder, journal):
        if quick and len(structures or ()) > 1:
            say("--quick takes the first structure alone")
        say(f"{loaded.words()}; {count} pairs in each of {len(levels)} cells")
        for row, reason in not_run.items():
            say(f"not run: {row}: {reason}")
        real = None
        if real_particles is not None:  # read first, so that hours of work do not end in a refusal
            bad = folder / "bad_particles.txt"
            particles = reading.particles(real_particles, bad, overwrite=True, list_ends_in=out)
            real = RealSet.of(particles, real_pairs, common.first_seed)
        cells = measure(plan, runs, journal=journal, tell=_say_cell)
        of_real = None
        if real is not None and real_particles is not None:
            of_real = measure_real(real, ready, running, setting, plan.seed, journal, len(plan.tasks), _say_real)
            of_real["table"] = real_particles.name
        record = {
            **source,
            "benchmark": "accuracy",
            "options": option_names(options),
            "structures": loaded.words(),
            "not_run": not_run,
            **accuracy_figures(cells),
            "real": of_real,
        }
        _write(folder, record)
    _say_orders(record)
    say(f"Look at:  {out / 'accuracy.md'}")


def _write(folder: Path, record: dict[str, Any]) -> None:
    from gumnet.benchmark.accuracy_figure import write_accuracy_figure
    from gumnet.benchmark.accuracy_record import csv_rows
    from gumnet.benchmark.accuracy_report import accuracy_markdown
    from gumnet.benchmark.record import write_csv, write_record

    write_record(folder / "accuracy.json", record)
    write_csv(folder / "accuracy.csv", csv_rows(record))
    (folder / "accuracy.md").write_text(accuracy_markdown(record), encoding="utf-8")
    for suffix in ("png", "svg"):
        write_accuracy_figure(folder / f"accuracy.{suffix}", record)


def _say_cell(cell: Cell, eta: Eta) -> None:
    errors, timings = cell.found.errors, cell.found.timings
    seconds = sum(timing.seconds.wall for timing in timings) / len(errors)
    say(
        f"SNR {cell.level.snr:g} {cell.level.colour:11} {cell.row:15} rotation {float(errors.frobenius.mean()):.3f} "
        f"({float(errors.degrees.mean()):.1f} degrees), shift {float(errors.shifts.mean()):.2f}, failures "
        f"{errors.failure_rate:.0%}, {seconds:.3f} s a pair; {eta.words()}"
    )


def _say_real(row: str) -> None:
    say(f"real particles: {row} done")


def _say_orders(record: dict[str, Any]) -> None:
    for order in record["orders"]:
        if "chain" in order:
            say(f"SNR {order['snr']:g} {order['colour']}: {order['chain']}. {order['verdict']}")
