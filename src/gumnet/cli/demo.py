"""``gumnet demo``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from gumnet.cli.options import COMMON, OUTPUT, Common, Output, command_line, say, say_table
from gumnet.versions import versions


def demo(
    *,
    out: Path,
    pairs: int = 16,
    pair_snr: float = 0.3,
    particles: int = 80,
    particle_snr: float = 0.3,
    box: int = 32,
    iterations: int = 6,
    common: Common = COMMON,
    output: Output = OUTPUT,
) -> None:
    """Simulate, align and average phantoms, and compare with the truth: the whole pipeline in minutes.

    Example
        gumnet demo --out demo-output

    OUT gets report.html to look at, overview.png, and the files of every step:
    pairs/, pairs_aligned.star, particles/ and average/.

    Parameters
    ----------
    out
        Folder to write.
    pairs
        How many pairs to align.
    pair_snr
        Signal-to-noise ratio of the pairs.
    particles
        How many particles to average.
    particle_snr
        Signal-to-noise ratio of the particles.
    box
        Side of the box in voxels.
    iterations
        How often to align and average.
    """
    device = common.start()
    from gumnet.demo import DemoConfig, run_demo
    from gumnet.io.atomic import claim_folder
    from gumnet.report.demo import NEXT_STEPS, demo_key_figures, write_demo_report, write_overview

    config = DemoConfig(
        pairs=pairs,
        pair_snr=pair_snr,
        particles=particles,
        particle_snr=particle_snr,
        box=box,
        iterations=iterations,
        seed=common.first_seed,
        device=str(device),
    )
    folder = claim_folder(out, overwrite=output.overwrite)
    result = run_demo(folder, config, tell=say)
    write_overview(folder / "overview.png", result)
    write_demo_report(folder / "report.html", result, command=command_line(), versions=versions())
    say("")
    say_table(demo_key_figures(result))
    say("")
    say(f"Look at:  {folder / 'report.html'}")
    # In a checkout the program is in .venv/bin, which is on nobody's PATH.
    elsewhere = "" if shutil.which("gumnet") else f", where gumnet is {sys.argv[0]}"
    say(f"On your own data, run next{elsewhere}:")
    for step in NEXT_STEPS:
        say(f"  {step}")
