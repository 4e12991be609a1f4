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
    code = f"import sys; from gumnet.cli.main import main; sys.exit(main({[*given, '--memory', '0.54']!r}))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert usage.ru_maxrss * 1024 < 0.54e9
