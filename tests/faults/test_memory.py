from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gumnet.cli.main import main

pytestmark = pytest.mark.skipif("GUMNET_FAULTS" not in os.environ, reason="takes seconds: set GUMNET_FAULTS")


def peak_bytes(arguments: list[str]) -> int:
    """Return the peak of the memory of gumnet in a process of its own."""
    # ru_maxrss of a child counts what its parent took when it was started: the child reads its own peak.
    code = (
        "from pathlib import Path; from gumnet.cli.main import main\n"
        f"assert main({arguments!r}) == 0\n"
        "print([line.split()[1] for line in Path('/proc/self/status').read_text().splitlines() if 'VmHWM' in line][0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return 1024 * int(done.stdout.split()[-1])


def test_align_stays_below_the_memory_that_info_says(
    particles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(particles), "--memory", "0.54"]) == 0
    assert "memory to align: 0.5 GB, 5 particles at a time\n" in capsys.readouterr().out
    reference = particles / "truth_structures" / "structure_1.mrc"
    given = ["align", str(particles), "--reference", str(reference), "--out", str(tmp_path / "out.star")]
    assert peak_bytes([*given, "--memory", "0.54"]) < 0.54e9


def test_average_stays_below_its_limit(tmp_path: Path) -> None:
    """Of volumes that would take 133 MB were they all kept in memory: 0.73 GB and, without a limit, 0.88."""
    folder, limit = tmp_path / "particles", 0.8
    made = ["--particles", "300", "--box", "48", "--voxel-size", "8", "--snr", "1", "--phantoms", "1"]
    assert main(["simulate", "--out", str(folder), *made]) == 0
    reference = folder / "truth_structures" / "structure_1.mrc"
    given = ["--initial", str(reference), "--iterations", "1", "--low-pass", "100", "--no-refine", "--threads", "1"]
    peaks = [
        peak_bytes(["average", str(folder), "--out", str(tmp_path / f"{i}"), *given, *more])
        for i, more in enumerate((["--memory", str(limit)], []))
    ]
    assert peaks[0] < limit * 1e9 < peaks[1]
