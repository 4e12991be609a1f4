"""Real worker processes, one of which is killed in the middle: the bytes of a run in one process.

With GUMNET_FAULTS set all places and commands are tried; to start a worker takes seconds.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gumnet.averaging.config import AverageConfig
from gumnet.averaging.joint import average
from gumnet.averaging.result import Average
from gumnet.cli.main import main
from gumnet.engine.cluster import DaskBackend
from gumnet.engine.place import Place
from gumnet.engine.pool import Pool
from gumnet.engine.work import Answer
from gumnet.io.read import read_particles
from tests.oracles.programs import QUICK

PLACES = ["--workers=2", *(["--cluster=local:2"] if "GUMNET_FAULTS" in os.environ else [])]
ALL = pytest.mark.skipif("GUMNET_FAULTS" not in os.environ, reason="takes half a minute: set GUMNET_FAULTS")
# Dask's event loop and sockets end when they like, and coroutines of a worker that was killed are never awaited.
pytestmark = pytest.mark.filterwarnings("ignore")
pytest.importorskip("distributed")


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the workers that were killed: one as soon as the first batch is done, others being at work."""
    pids: list[int] = []
    answers = 0

    def killing(pid_of: Callable[[Any], int], then: Callable[[Any], Answer]) -> Callable[[Any], Answer]:
        def following(backend: Any) -> Answer:
            nonlocal answers
            answer = then(backend)
            answers += 1
            if answers == 1:
                pids.append(pid_of(backend))
                os.kill(pids[-1], signal.SIGKILL)
            return answer

        return following

    def of_pool(pool: Pool) -> int:
        return next(worker for worker in pool._workers if worker.given).process.pid

    def of_cluster(backend: DaskBackend) -> int:
        assert backend._cluster._cluster is not None
        return int(backend._cluster._cluster.workers[0].pid)

    monkeypatch.setattr(Pool, "next", killing(of_pool, Pool.next))
    monkeypatch.setattr(DaskBackend, "next", killing(of_cluster, DaskBackend.next))
    return pids


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in QUICK.items():
        monkeypatch.setattr(name, value)
    monkeypatch.setattr("gumnet.averaging.shared_sums.PARTICLES_A_PART", 3)


def place(option: str) -> Place:
    kind, _, where = option.partition("=")
    if kind == "--workers":
        return Place("cpu", workers=int(where), threads=1)
    return Place("cpu", cluster=where, threads=1)


@pytest.mark.parametrize("option", PLACES)
def test_an_average_is_that_of_one_process(option: str, few: Path, killed: list[int]) -> None:
    config = AverageConfig(iterations=2, max_shift=1, refine=False, device="cpu", batch_size=2)
    particles = read_particles(few)
    here, there = (average(particles, config, place=p) for p in (Place("cpu", workers=1), place(option)))
    assert len(killed) == 1

    def tensors(made: Average) -> list[torch.Tensor]:
        poses = made.particles.poses
        assert poses.confidences is not None
        return [made.map, made.half_maps, made.fsc, poses.rotations, poses.shifts, poses.scores, poses.confidences]

    for ours, theirs in zip(tensors(here), tensors(there), strict=True):
        assert torch.equal(ours, theirs)


@ALL
@pytest.mark.parametrize("option", PLACES)
def test_an_alignment_is_that_of_one_process(option: str, particles: Path, tmp_path: Path, killed: list[int]) -> None:
    reference = particles / "truth_structures" / "structure_1.mrc"
    # As much memory as holds two particles at a time, for each worker of a cluster and for both of this machine.
    given = ["align", str(particles), "--reference", str(reference), "--threads", "1", "--no-refine", "--device", "cpu"]
    alone = [*given, "--memory", "0.54", "--out", str(tmp_path / "one.star")]
    assert main(alone) == 0
    memory = "0.54" if "cluster" in option else "1.58"
    assert main([*given, "--memory", memory, "--out", str(tmp_path / "two.star"), option]) == 0
    assert len(killed) == 1
    assert (tmp_path / "two.star").read_bytes() == (tmp_path / "one.star").read_bytes()


@ALL
@pytest.mark.parametrize("option", PLACES)
def test_classes_are_those_of_one_process(option: str, few: Path, tmp_path: Path, killed: list[int]) -> None:
    given = ["cluster", str(few), "--k", "2", "--no-refine", "--max-shift", "1", "--low-pass", "100", "--threads", "1"]
    assert main([*given, "--out", str(tmp_path / "one")]) == 0
    assert main([*given, "--out", str(tmp_path / "two"), option]) == 0
    assert len(killed) == 1
    for file in ("distances.npz", "particles.star", "class_001.mrc", "class_002.mrc"):
        assert (tmp_path / "two" / file).read_bytes() == (tmp_path / "one" / file).read_bytes()
