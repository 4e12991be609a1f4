"""What the scripts share besides `gumnet.benchmark`: the levels they go through, and where their figures are kept."""

from __future__ import annotations

import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gumnet.benchmark.level import Level
from gumnet.benchmark.machine import hardware
from gumnet.benchmark.record import commit

HERE = Path(__file__).parent

# Half of coloured noise goes through the CTF and half is low-passed; white noise comes without CTF.
LEVELS = (
    Level(100.0, "coloured", True),
    Level(0.3, "coloured", True),
    Level(0.2, "coloured", True),
    Level(0.1, "coloured", True),
    Level(0.1, "white", False),
)


def keep(name: str, figures: dict[str, Any]) -> Path:
    """Write figures with date, commit, hardware and command to results/NAME-DATE.json, on one line."""
    now = datetime.now(UTC)
    # Names alone: where files and folders lie on this machine tells nobody anything.
    arguments = [Path(each).name if Path(each).is_file() or Path(each).is_absolute() else each for each in sys.argv[1:]]
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *arguments])
    record = {"date": now.isoformat(timespec="seconds"), "commit": commit(), "hardware": hardware(), "command": command}
    out = HERE / "results" / f"{name}-{now:%Y-%m-%d-%H%M%S}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({**record, **figures}) + "\n", encoding="utf-8")
    print(f"written: {out.relative_to(HERE.parent)}")
    return out
