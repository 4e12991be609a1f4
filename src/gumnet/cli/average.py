"""``gumnet average``."""

from __future__ import annotations

import json as json_format
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from gumnet.cli.half_maps import AUTO
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
    matching_map,
    read_mask,
    say,
    say_table,
    settled,
)
from gumnet.cli.running import RUNNING, Running
from gumnet.errors import InputError
from gumnet.versions import versions

if TYPE_CHECKING:
    from gumnet.averaging.config import AverageConfig
    from gumnet.averaging.result import Iteration
    from gumnet.averaging.start import StartStep
    from gumnet.journal import Journal
    from gumnet.particles import Particles


def average(
    particles: Path,
    *,
    out: Path,
    iterations: Annotated[int | None, Parameter(show_default="8")] = None,
    classes: int = 1,
    merge: Flag = False,
    start: Literal["auto", "halves", "together", "pairs", "blob"] = "auto",
    initial: Path | None = None,
    mask: str | None = None,
    symmetry: str = "C1",
    method: Literal["exhaustive", "matched", "gumnet", "ht", "fa", "auto"] = "exhaustive",
    model: Path | None = None,
    no_refine: Flag = False,
    max_shift: float | None = None,
    low_pass: float | None = None,
    json: Flag = False,
    memory: float | None = None,
    common: Common = COMMON,
    output: Output = OUTPUT,
    reading: Reading = READING,
    running: Running = RUNNING,
) -> None:
    """Average particles into a map, with or without a reference, and say how good it is.

    Example
        gumnet average particles.star --out average
        gumnet average particles.star --out average --classes 3 --mask auto
        gumnet average rings.star --out ring --symmetry C7 --resume
        gumnet average particles.star --out check --iterations 0

    Without --initial nothing is assumed about the structure: the first maps come
    from the particles alone. Two halves of the particles are aligned and averaged
    apart. Where both start from one map (--start, --classes, --symmetry, --initial)
    only finer detail than it holds is independent, and the result says so.
    --iterations 0 averages at the poses of the table, however these came about.

    OUT gets map.mrc, half1.mrc, half2.mrc, fsc.star, particles.star, view.cxc for
    ChimeraX, report.html and its figures, all of them or none; a folder for each of
    several classes; mask.mrc with --mask auto; for 2D tilt stacks also
    particles_optimisation_set.star, to give to other commands. Until then first
    maps and iterations are kept in OUT.journal: a run that was killed goes on with
    --resume, on a CPU to the same bytes. --workers share what follows first maps.

    Parameters
    ----------
    particles
        Particle table, or folder that gumnet simulate or gumnet pack wrote.
    out
        Folder to write.
    iterations
        How often to align and average from the first maps on. Three of them search
        all rotations or more, until poses settle; those that follow refine, at a third
        of the cost, until poses rest. With --start blob all of them search.
    classes
        How many structures the particles may be of. They are sorted by first
        maps, and each class is averaged by itself.
    merge
        Put classes together that come out as one structure; without it they are
        only noted.
    start
        Where the first maps come from, without --initial. halves: each half
        finds its own, so that nothing in common can feign agreement. together:
        all particles find one, for few or noisy ones; only finer detail is then
        independent. auto: halves, together where these disagree or with --symmetry.
        pairs: as auto, from alignments of each particle with a few others. blob: the
        average of each half as it is, meant for methods other than exhaustive.
    initial
        Map to start from, in place of first maps.
    mask
        Mask from 0 to 1 for the correlation of the half maps, or auto to find
        one from them at the end; none unless given. It does not touch the maps.
    symmetry
        Point group of the structure in RELION's setting, such as C7, D2, O or
        I1. Particles count at all equivalent poses: give only what is known.
        auto averages without any, finds the one that the half maps have, says
        which, and ends with it; none where they do not tell.
    method
        Search over all rotations and shifts (exhaustive), the same on volumes that a
        learned filter cleaned (matched), a trained Gum-Net, a classical baseline (H-T
        align or F&A align), or auto: exhaustive, but matched for the pairs of
        --start pairs, as measurements advise (docs/benchmarks.md).
    model
        Weights in place of those that ship: a Gum-Net for --method gumnet, a matched
        filter for --method matched.
    no_refine
        Leave out the local refinement of poses: iterations that only refine then
        move nothing.
    max_shift
        Largest shift on each axis in voxels; an eighth of the box for the first
        maps, as picking leaves less and the cost grows with the third power,
        and a quarter from then on unless given.
    low_pass
        Resolution of the first iteration in Angstrom, from which the band rises;
        the last third of the iterations use what the halves agree on. Unless given
        it is that of the first maps, and what the halves agree on from then on.
    json
        Print one JSON object at the end, and nothing else on standard output.
    memory
        Most memory to use, in GB. On a CPU of all workers; 2 to align, and 4 for
        particles that are not in a store, unless given. A quarter of what is free
        on a GPU unless given.
    """
    check_model(method, model)
    device = common.start()
    from gumnet.alignment.auto import PAIRS, TO_MAP
    from gumnet.averaging.config import AverageConfig
    from gumnet.averaging.joint import average as run
    from gumnet.fingerprint import Watched
    from gumnet.io.atomic import check_free_folder
    from gumnet.io.mrc import write_map
    from gumnet.journal import check_start, journal_path
    from gumnet.report.average import REPORT, key_figures, write_average_report
    from gumnet.report.average_files import write_average
    from gumnet.report.folder import remove_leftover_folders, whole_folder

    check_start(out, resume=running.resume, overwrite=output.overwrite, check=check_free_folder)
    going_on = running.resume and journal_path(out).exists()
    with ExitStack() as stack:
        with whole_folder(out, overwrite=output.overwrite or going_on) as folder:
            began = time.perf_counter()
            data = reading.particles(particles, folder / "bad_particles.txt", overwrite=True, list_ends_in=out)
            check_limits(data, max_shift=max_shift, low_pass=low_pass)
            if classes > 1 and classes > len(data) // 2:  # a half map of each takes two particles
                raise InputError(
                    f"{classes} classes of {len(data)} particles are not possible", cure="give fewer classes"
                )
            config = AverageConfig(
                iterations=AverageConfig().iterations if iterations is None else iterations,
                classes=classes,
                merge=merge,
                start=start,
                method=method,
                refine=not no_refine,
                symmetry=symmetry,
                mask=None if mask is None else "auto" if mask == AUTO else read_mask(Path(mask)),
                initial=None if initial is None else matching_map(initial, data),
                low_pass_angstrom=low_pass,
                max_shift=max_shift,
                model=model,
                seed=common.first_seed,
                device=str(device),
                memory_gigabytes=memory,
            )
            for task in ((TO_MAP, PAIRS) if start == "pairs" else (TO_MAP,)) if config.iterations else ():
                settled(method, task, quiet=json)
            files = {"the initial map": initial, "the mask": None if mask in (None, AUTO) else mask, "the model": model}
            watched = Watched.of(data, files.values())
            journal = stack.enter_context(
                _journal(out, data, config, files, running.resume, overwrite=output.overwrite)
            )
            tell = _nothing if json else say
            if going_on:
                tell("going on with what was finished before")
            read = time.perf_counter()
            told = _Told(classes, tell)
            made = run(
                data,
                config,
                on_iteration=told.iteration,
                on_start=told.start,
                journal=journal,
                place=running.place(common),
            )
            seconds = {"reading": read - began, "aligning and averaging": time.perf_counter() - read}
            watched.check()
            write_average(folder, made)
            if mask == AUTO and made.mask is not None:
                write_map(folder / "mask.mrc", made.mask, data.voxel_size_angstrom)
            settings = {"Particles": str(particles), "Seed": str(common.first_seed), "Device": str(device)}
            if config.iterations:
                settings["Method"] = config.method_words
            notes = write_average_report(
                folder,
                made,
                lead=f"{len(data)} particles of {particles}.",
                command=command_line(),
                versions=versions(),
                settings=settings,
                seconds=seconds,
                seed=config.seed,
            )
        remove_leftover_folders(out)  # those of runs that were killed
        journal.remove()
    if json:
        from gumnet.report.average_facts import average_facts

        told_at_last = {**average_facts(made), "method": config.method_words if config.iterations else None}
        told_at_last |= {"seconds": seconds, "folder": str(out), "report": str(out / REPORT)}
        say(json_format.dumps(told_at_last, indent=2))
        return
    left = config.iterations - len(made.history)
    if config.classes == 1 and left > 0:
        say(f"Poses came to rest in iteration {len(made.history)}: the {left} left would have moved nothing.")
    for note in notes:  # those of the report: who reads the terminal alone is to know as much
        say(note)
    say_table([*key_figures(made), ("Time", f"{sum(seconds.values()):.0f} s"), ("Report", str(out / REPORT))])


def _journal(
    out: Path,
    particles: Particles,
    config: AverageConfig,
    files: dict[str, Path | str | None],
    resume: bool,
    *,
    overwrite: bool,
) -> Journal:
    """Return the journal of the run: by the names of its options, what a run that goes on must have been told alike."""
    from gumnet.devices import resolve_device
    from gumnet.fingerprint import of_file, of_particles
    from gumnet.journal import Journal, journal_path

    settings = {
        "--iterations": config.iterations,
        "--classes": config.classes,
        "--merge": config.merge,
        "--start": config.start,
        "--mask": AUTO if isinstance(config.mask, str) else None,
        "--symmetry": config.symmetry.upper(),
        "--method": config.method_words,
        "--no-refine": not config.refine,
        "--max-shift": config.max_shift,
        "--low-pass": config.low_pass_angstrom,
        "--memory": config.memory_gigabytes,
        "--seed": config.seed,
        # GPUs round otherwise than CPUs, and one result is to be of one kind.
        "--device": resolve_device(config.device).type,
    }
    inputs = {name: of_file(path) for name, path in files.items() if path is not None}
    inputs["the particles"] = of_particles(particles)
    return Journal.open(journal_path(out), settings=settings, inputs=inputs, resume=resume, overwrite=overwrite)


def _nothing(_: str) -> None:
    """Say nothing."""


class _Told:
    """Says what first maps and iterations came to, a line each."""

    def __init__(self, classes: int, tell: Callable[[str], None]) -> None:
        self._classes, self._tell = classes, tell
        self._last: tuple[str, StartStep] | None = None
        self._steps = 0

    def start(self, whose: str, step: StartStep) -> None:
        """Take in a step towards first maps; the line comes with the last of them."""
        if self._last is not None and self._last[0] != whose:
            self._say_start()
        self._last, self._steps = (whose, step), self._steps + 1

    def iteration(self, step: Iteration, *_: object) -> None:
        """Say what an iteration did."""
        from gumnet.report.average_steps import iteration_words

        self._say_start()
        of_class = f"class {step.class_number}, " if self._classes > 1 else ""
        self._tell(f"{of_class}{iteration_words(step)}")

    def _say_start(self) -> None:
        if self._last is None:
            return
        whose, step = self._last
        self._tell(
            f"first maps of {whose}: {self._steps} steps, shells up to {step.shells}, "
            f"evidence {step.evidence:.2f} a particle"
        )
        self._last, self._steps = None, 0
