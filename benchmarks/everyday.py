"""What people wait for every day: particle tables that are read and converted, and a report that opens in a browser.

    python benchmarks/everyday.py
    python benchmarks/everyday.py --report average/report.html --browser chromium

Tables are made up, with the columns that RELION 5 writes. Reading is timed inside a process that has imported gumnet;
converting is the whole process of ``gumnet convert``. On a machine that others use too, CPU seconds say what the work
is, and seconds what somebody waits: both are kept, with the most memory that the process held. Prints the figures and
writes results/everyday-DATE.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import keep

ROWS = (5000, 300_000)
TARGETS = {"dynamo": "out.tbl", "stopgap": "out_motl.star", "relion5": "out5.star"}
_READ = """
import json, resource, sys, time
from gumnet.io.tables import read_pose_table
start, cpu = time.perf_counter(), time.process_time()
table = read_pose_table(sys.argv[1])
print(json.dumps({"rows": len(table), "seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu,
                  "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""
_OPENED = """<script>addEventListener("load", () => {
document.body.dataset.opened = performance.now(); });</script></body>"""


def write_table(path: Path, rows: int) -> None:
    """Write particles as RELION 5 does, with 21 columns."""
    rng = np.random.default_rng(1)
    numbers = np.arange(rows)
    tomograms = [f"TS_{1 + i * 60 // rows:02d}" for i in range(rows)]
    particles = [f"{name}/{i}" for name, i in zip(tomograms, numbers, strict=True)]
    columns: dict[str, list[str]] = {
        "rlnTomoName": tomograms,
        "rlnTomoParticleName": particles,
        "rlnImageName": [f"Extract/job010/Subtomograms/{name}_stack2d.mrcs" for name in particles],
    }
    for names, low, high in (
        (("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"), 100, 3900),
        (("rlnAngleRot", "rlnAnglePsi"), -180, 180),
        (("rlnAngleTilt",), 0, 180),
        (("rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst"), -20, 20),
        (("rlnLogLikeliContribution", "rlnNormCorrection", "rlnMaxValueProbDistribution"), 0, 1),
    ):
        for name in names:
            columns[name] = [f"{value:.6f}" for value in rng.uniform(low, high, rows)]
    columns |= {
        "rlnOpticsGroup": ["1"] * rows,
        "rlnClassNumber": ["1"] * rows,
        "rlnRandomSubset": [str(1 + i % 2) for i in numbers],
        "rlnGroupNumber": [str(1 + i % 60) for i in numbers],
        "rlnNrOfSignificantSamples": [str(1 + i % 7) for i in numbers],
        "rlnTomoVisibleFrames": ["[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]"] * rows,
    }
    head = "".join(f"_{name} #{i}\n" for i, name in enumerate(columns, start=1))
    optics = (
        "_rlnOpticsGroup #1\n_rlnOpticsGroupName #2\n_rlnVoltage #3\n_rlnSphericalAberration #4\n"
        "_rlnAmplitudeContrast #5\n_rlnTomoTiltSeriesPixelSize #6\n_rlnTomoSubtomogramBinning #7\n"
        "_rlnImagePixelSize #8\n_rlnImageSize #9\n_rlnImageDimensionality #10\n_rlnCtfDataAreCtfPremultiplied #11\n"
        "1 group1 300 2.7 0.1 1.35 4 5.4 64 2 1\n"
    )
    with path.open("w", encoding="utf-8") as file:
        file.write(f"data_general\n\n_rlnTomoSubTomosAre2DStacks 1\n\ndata_optics\n\nloop_\n{optics}\n")
        file.write(f"data_particles\n\nloop_\n{head}")
        file.writelines(f"{' '.join(row)}\n" for row in zip(*columns.values(), strict=True))


def reading(path: Path) -> dict[str, float]:
    """Return what reading a table takes in a process of its own."""
    done = subprocess.run([sys.executable, "-c", _READ, str(path)], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def converting(path: Path, target: str, out: Path) -> dict[str, float]:
    """Return what the whole process of a conversion takes."""
    call = [sys.executable, "-m", "gumnet", "convert", str(path), str(out), "--to", target]
    start = time.perf_counter()
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(call)} ended with {process.returncode}")
    return {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_bytes": used.ru_maxrss * 1024}


def opening(report: Path, browser: str, profile: Path) -> dict[str, float]:
    """Return the size of a page, and how long a browser without a screen takes until it is loaded."""
    html = report.read_text(encoding="utf-8")
    copy = profile / "page.html"
    # The policy of the page would refuse the script that reads the clock.
    copy.write_text(re.sub("<meta http-equiv[^>]*>", "", html).replace("</body>", _OPENED), encoding="utf-8")
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}"]
    call = [browser, *switches, "--enable-unsafe-swiftshader", "--dump-dom", copy.as_uri()]
    done = subprocess.run(call, check=True, capture_output=True, text=True, timeout=600)
    found = re.search('data-opened="([0-9.]+)"', done.stdout)
    if found is None:
        raise SystemExit(f"{browser} did not say when {report.name} was loaded")
    return {"bytes": report.stat().st_size, "seconds": float(found[1]) / 1000}


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--browser", default="chromium")
    given = parser.parse_args()
    tables = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for rows in given.rows:
            table = folder / f"{rows}.star"
            write_table(table, rows)
            cells = {"read": reading(table)}
            cells |= {target: converting(table, target, folder / f"{rows}_{out}") for target, out in TARGETS.items()}
            for what, cell in cells.items():
                print(
                    f"{rows:>8} rows, {what:>8}: {cell['seconds']:6.1f} s, {cell['cpu_seconds']:6.1f} CPU s, "
                    f"{cell['peak_bytes'] / 1e9:.2f} GB",
                    flush=True,
                )
            tables.append({"rows": rows, "megabytes": table.stat().st_size / 1e6, "cells": cells})
        figures: dict[str, object] = {"tables": tables}
        if given.report is not None:
            figures["page"] = page = opening(given.report, given.browser, folder)
            print(f"page of {page['bytes'] / 1e6:.1f} MB loaded after {page['seconds']:.1f} s")
    keep("everyday", figures)


if __name__ == "__main__":
    main()
