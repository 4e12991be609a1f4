from __future__ import annotations

import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gumnet.engine import cluster
from gumnet.engine.place import Place
from gumnet.engine.run import batches_of, run
from gumnet.errors import InputError
from tests.oracles.works import Square

pytest.importorskip("distributed")


# Dask's event loop and sockets end when they like, and coroutines of a worker that was killed are never awaited.
@pytest.mark.filterwarnings("ignore")
def test_a_worker_that_is_killed_is_replaced_and_its_batch_done_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = Square(marks=tmp_path, kill_once=frozenset({16}), refuse=frozenset({19}))
    done = []
    for each in run(work, batches_of(20, 2), Place(device="cpu", cluster="local:2"), tolerate="all"):
        if not done:
            # Answers that nobody fetches are lost with their worker. These batches take no time: a worker that did not
            # wait for them to be fetched would have done them all by now, and be dead.
            time.sleep(1)
        done.append(each)
    assert (tmp_path / "row-16").exists(), "the worker was killed"
    # Ten batches, the killed one, and the particles of the refused one; of those that were done one may be lost too.
    assert len(list(tmp_path.glob("run-*"))) <= 10 + 1 + 2 + 1
    found = {
        row: float(v) for each in done if each.result for row, v in zip(each.rows, each.result["square"], strict=True)
    }
    assert found == {row: row**2 for row in range(20) if row != 19}
    assert [(failure.row, failure.by_input) for each in done for failure in each.failures] == [(19, True)]
    assert "warning" not in capsys.readouterr().err, "a local cluster listens on the loopback interface alone"


def test_an_open_scheduler_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    for address in ("tcp://127.0.0.1:8786", "tls://10.0.0.1:8786", "tcp://localhost:8786", "tcp://[::1]:8786"):
        cluster._warn_if_open(address)
    assert capsys.readouterr().err == ""
    for address in ("tcp://10.0.0.1:8786", "tcp://0.0.0.0:8786", "tcp://1127.0.0.1:1"):
        cluster._warn_if_open(address)
        assert f"the scheduler at {address} runs what anyone who reaches it sends" in capsys.readouterr().err


class _Queue:
    """Stands in for a cluster of dask-jobqueue, which needs a queue."""

    made: dict[str, Any]

    def __init__(self, *, queue: str, cores: int) -> None:
        _Queue.made = {"queue": queue, "cores": cores}

    def adapt(self, **limits: int) -> None:
        _Queue.made |= limits


def test_a_toml_file_says_which_jobs_to_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("dask_jobqueue")
    monkeypatch.setattr(module, "SLURMCluster", _Queue, raising=False)
    monkeypatch.setitem(sys.modules, "dask_jobqueue", module)
    path = tmp_path / "cluster.toml"
    path.write_text('[slurm]\nqueue = "gpu"\ncores = 4\njobs = 100\n')
    assert isinstance(cluster._cluster(str(path)), _Queue)
    assert _Queue.made == {"queue": "gpu", "cores": 4, "minimum_jobs": 100, "maximum_jobs": 100}
    for text, message in (
        ("[slurm", "no TOML file"),
        ("jobs = 3\n", "one table is wanted"),
        ("[slurm]\ncores = 4\n", "jobs = N is missing"),
        ("[pbs]\njobs = 4\n", r"no queue is called \[pbs\]; use one of: slurm"),
        ("[slurm]\njobs = 4\nqueue = 'a'\ncores = 1\nspeed = 3\n", "speed"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            cluster._cluster(str(path))
