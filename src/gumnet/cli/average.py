"""``gumnet average``."""

from __future__ import annotations

import time
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
    matching_map,
    read_mask,
    say,
    say_table,
    versions,
)

if TYPE_CHECKING:
    from gumnet.averaging.config import AverageConfig
    from gumnet.averaging.result import Average


def average(
    particles: Path,
    *,
    out: Path,
    iterations: int = 6,
    initial: Path | None = None,
    mask: Path | None = None,
    symmetry: str = "C1",
    method: Literal["exhaustive", "gumnet", "ht", "fa"] = "exhaustive",
    model: Path | None = None,
    no_refine: Flag = False,
    max_shift: float | None = None,
    low_pass: float | None = None,
    common: Common = COMMON,
    output: Output = OUTPUT,
    reading: Reading = READING,
) -> None:
    """Average particles into a map, with or without a reference, and say how good it is.

    Example
        gumnet average particles.star --out average
        gumnet average particles.star --out check --iterations 0

    Without --initial nothing is assumed about the structure: the first average is
    of the particles as they are. Two halves of the particles are kept apart
    throughout. --iterations 0 averages at the poses of the table.

    OUT gets map.mrc, half1.mrc, half2.mrc, fsc.star, particles.star, view.cxc for
    ChimeraX, report.html and its figures, all of them or none.

    Parameters
    ----------
    particles
        Particle table, or folder that gumnet simulate wrote.
    out
        Folder to write.
    iterations
        How often to align and average.
    initial
        Map to start from.
    mask
        Mask from 0 to 1 for the correlation of the half maps; none unless given. It
        does not touch the maps.
    symmetry
        Symmetry of the structure; C1 so far.
    method
        Search over all rotations and shifts, a trained Gum-Net, or a classical
        baseline: H-T align or F&A align.
    model
        Weights of a trained Gum-Net, for --method gumnet.
    no_refine
        Leave out the local refinement of poses.
    max_shift
        Largest shift on each axis in voxels; a quarter of the box unless given.
    low_pass
        Resolution of the first iteration in Angstrom; the band rises from there.
    """
    check_model(method, model)
    device = common.start()
    from gumnet.averaging.config import AverageConfig
    from gumnet.averaging.joint import average as run
    from gumnet.report.average import REPORT, key_figures
    from gumnet.report.average_files import write_average
    from gumnet.report.average_steps import iteration_words
    from gumnet.report.folder import whole_folder

    with whole_folder(out, overwrite=output.overwrite) as folder:
        start = time.perf_counter()
        data = reading.particles(particles, folder / "bad_particles.txt", overwrite=True, list_ends_in=out)
        check_limits(data, max_shift=max_shift, low_pass=low_pass)
        config = AverageConfig(
            iterations=iterations,
            method=method,
            refine=not no_refine,
            symmetry=symmetry,
            mask=None if mask is None else read_mask(mask),
            initial=None if initial is None else matching_map(initial, data),
            low_pass_angstrom=low_pass,
            max_shift=max_shift,
            model=model,
            seed=common.first_seed,
            device=str(device),
        )
        read = time.perf_counter()
        made = run(data, config, on_iteration=lambda step, *_: say(iteration_words(step)))
        seconds = {"reading": read - start, "aligning and averaging": time.perf_counter() - read}
        write_average(folder, made)
        settings = {"Particles": str(particles), "Seed": str(common.first_seed), "Device": str(device)}
        _write_report(folder, made, settings, seconds, config)
    say_table([*key_figures(made), ("Time", f"{sum(seconds.values()):.0f} s"), ("Report", str(out / REPORT))])


def _write_report(
    folder: Path, average: Average, settings: dict[str, str], seconds: dict[str, float], config: AverageConfig
) -> None:
    from gumnet.report.average import write_average_report

    write_average_report(
        folder,
        average,
        lead=f"{len(average.particles)} particles of {settings['Particles']}.",
        command=command_line(),
        versions=versions(),
        settings=settings,
        seconds=seconds,
        mask=config.mask,
        seed=config.seed,
    )
