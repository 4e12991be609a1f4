from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gumnet.cli.main import main


@pytest.mark.skipif("GUMNET_FAULTS" not in os.environ, reason="takes seconds: set GUMNET_FAULTS")
def test_align_stays_below_the_memory_that_info_says(
    particles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(particles), "--memory", "0.54"]) == 0
    assert "memory to align: 0.5 GB, 2 particles at a time\n" in capsys.readouterr().out
    reference = particles / "truth_structures" / "structure_1.mrc"
    given = ["align", str(particles), "--reference", str(reference), "--out", str(tmp_path / "out.star")]
    # ru_maxrss of a child counts what its parent took when it was started: the child reads its own peak.
    code = (
        "from pathlib import Path; from gumnet.cli.main import main\n"
        f"assert main({[*given, '--memory', '0.54']!r}) == 0\n"
        "print([line.split()[1] for line in Path('/proc/self/status').read_text().splitlines() if 'VmHWM' in line][0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) * 1024 < 0.54e9
