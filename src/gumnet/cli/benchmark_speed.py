"""``gumnet benchmark speed``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gumnet.cli.benchmark_options import Counts, Names, Paths, command_without_folders, option_names, ready_methods
from gumnet.cli.options import COMMON, OUTPUT, Common, Flag, Output, say
from gumnet.errors import InputError

PAIRS, QUICK_PAIRS = 64, 8
BOXES, QUICK_BOXES = (24, 32, 48, 64), (24, 32)
BOX_PAIRS, QUICK_BOX_PAIRS = 8, 2
PARTICLES, QUICK_PARTICLES = (64, 128, 256, 512), (8, 16, 32)
JOINT = (32, 64, 128)
_LEAST_BOX = 16


def speed(
    *,
    out: Path,
    quick: Flag = False,
    methods: Names = None,
    model: Paths = None,
    pairs: int | None = None,
    boxes: Counts = None,
    particles: Counts = None,
    common: Common = COMMON,
    output: Output = OUTPUT,
) -> None:
    """Measure how fast every method is on this machine, and how near to what it can do.

    Example
        gumnet benchmark speed --out speed --quick --threads 1
        gumnet benchmark speed --out speed --device cuda --model gumnet.safetensors

    Seconds a pair on the CPU and, where there is one, on the GPU; the fraction of the
    matrix products and of the memory bandwidth that this machine was just measured
    to reach; how time grows with the size of the box and with the number of
    particles. Other work on the machine makes seconds longer: they are given of the
    wall and of the processors.

    OUT gets speed.md to read and speed.json, both or none.

    Parameters
    ----------
    out
        Folder to write.
    quick
        Few pairs, small boxes and sets, without joint alignment: under five minutes
        on two cores.
    methods
        All that this version has unless given.
    model
        Weights of trained Gum-Nets, one or more.
    pairs
        For the seconds a pair: 64, or 8 with --quick.
    boxes
        Sizes of boxes in voxels: 24 32 48 64, or 24 32 with --quick.
    particles
        Sizes of sets: 64 128 256 512, or 8 16 32 with --quick.
    """
    device = common.start()
    import torch

    from gumnet.benchmark.aligning import Setting
    from gumnet.benchmark.level import BOX, MAX_SHIFT, VOXEL_SIZE_ANGSTROM
    from gumnet.benchmark.record import provenance, write_record
    from gumnet.benchmark.rows import check_rows, load_networks, pair_rows
    from gumnet.benchmark.speed import SpeedPlan, measure_speed
    from gumnet.benchmark.speed_report import speed_markdown
    from gumnet.report.folder import whole_folder

    source = provenance(command_without_folders())
    plan = SpeedPlan(
        pairs if pairs is not None else QUICK_PAIRS if quick else PAIRS,
        _sizes("--boxes", boxes, QUICK_BOXES if quick else BOXES, _LEAST_BOX),
        QUICK_BOX_PAIRS if quick else BOX_PAIRS,
        _sizes("--particles", particles, QUICK_PARTICLES if quick else PARTICLES, 1),
        () if quick else JOINT,
        common.first_seed,
    )
    if plan.pairs < 2:
        raise InputError(f"--pairs {plan.pairs} is too few", cure="give 2 or more")
    known = pair_rows()
    rows = check_rows(methods or known, (*known, "ht-refined", "fa-refined"))
    # Without --device both; one that is asked for is the only one.
    devices = [torch.device("cpu")] if common.device is None and device.type == "cuda" else []
    devices.append(device)
    not_run: dict[str, str] = {}
    with whole_folder(out, overwrite=output.overwrite) as folder:
        measured: list[dict[str, Any]] = []
        for each in devices:
            setting = Setting(MAX_SHIFT, VOXEL_SIZE_ANGSTROM, device=str(each))
            ready, not_run = ready_methods(rows, setting, load_networks(model or [], BOX, each))
            if not ready:
                raise InputError(f"no method can run: {'; '.join(not_run.values())}", cure="give others")
            measured.append(measure_speed(plan, ready, each, say))
        for row, reason in not_run.items():
            say(f"not run: {row}: {reason}")
        options = {
            "--quick": quick,
            "--pairs": plan.pairs,
            "--boxes": plan.boxes,
            "--box-pairs": plan.box_pairs,
            "--particles": plan.particles,
            "--joint": plan.joint,
            "--seed": plan.seed,
        }
        record = {
            **source,
            "benchmark": "speed",
            "box": BOX,
            "options": option_names(options),
            "not_run": not_run,
            "devices": measured,
        }
        write_record(folder / "speed.json", record)
        (folder / "speed.md").write_text(speed_markdown(record), encoding="utf-8")
    say(f"Look at:  {out / 'speed.md'}")


def _sizes(name: str, given: list[int] | None, default: tuple[int, ...], least: int) -> tuple[int, ...]:
    """Return sizes in ascending order, each once."""
    sizes = tuple(sorted(set(given or default)))
    if sizes[0] < least:
        raise InputError(f"{name} {sizes[0]} is too small", cure=f"give {least} or more")
    return sizes
