"""What benchmarks/scale.py makes of what it measured."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

PACE = 10.0


@pytest.fixture(scope="module")
def scale(benchmarks: Path) -> ModuleType:
    return importlib.import_module("scale")


def test_growth_is_of_the_time_a_particle_and_efficiency_of_what_more_particles_take(scale: ModuleType) -> None:
    def row(workers: int, count: int, wall: float, cpu: float, pace: float = PACE) -> object:
        return scale.Measured("align", workers, count, wall, cpu, 0.5, 0.5, pace)

    rows = [row(1, 100, 3.0, 2.0), row(1, 1000, 21.0, 20.0), row(2, 100, 4.0, 4.0), row(2, 1000, 13.0, 26.0)]
    figures = scale.figures_of(rows)
    assert figures[0]["growth"] is None
    assert figures[1]["growth"] == pytest.approx([21 / 30, 20 / 20])
    # 18 s for 900 more by one, 9 s by two on the wall; of processors 18 and 22.
    assert figures[3]["efficiency"] == pytest.approx([1.0, 18 / 22])
    assert figures[1]["efficiency"] == [1.0, 1.0]
    # On a machine that is half as fast meanwhile, as many seconds of its processors are half the work.
    slow = scale.figures_of([row(1, 100, 3.0, 2.0), row(1, 1000, 21.0, 40.0, 2 * PACE)])
    assert slow[1]["growth"] == pytest.approx([0.7, 1.0])


def test_a_store_of_any_size_is_streamed_and_what_was_measured_is_not_measured_again(
    scale: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import argparse

    from gumnet.io.read import read_particles

    monkeypatch.setattr(scale, "BASE", 2)
    monkeypatch.setattr(scale, "CHUNK", 2)
    sizes = {"search": [0], "align": [2, 3], "average": [0], "cluster": [0]}
    options = argparse.Namespace(pack=[3, 5], workers=[1], dask=False, align_with=["--local"], **sizes)
    ran: list[tuple[str, int, list[str]]] = []

    def measure(command: str, workers: int, count: int, given: list[str], _pace: object, *, name: str) -> object:
        ran.append((name, count, given))
        if command == "pack":
            from gumnet.io.pack import pack

            pack(read_particles(given[0]), given[2], overwrite=True)
        if len(ran) == 3:
            raise KeyboardInterrupt
        return scale.Measured(name, workers, count, 1.0, 1.0, 0.5, 0.5, 1.0)

    monkeypatch.setattr(scale, "measure", measure)
    monkeypatch.setattr(scale, "Pace", lambda: None)
    with pytest.raises(KeyboardInterrupt):
        scale.Scale(tmp_path, options).all()
    again = scale.Scale(tmp_path, options)
    again.all()
    assert [(name, count) for name, count, _ in ran] == [
        ("pack", 3), ("pack", 5), ("align", 2), ("align", 2), ("align", 3),
    ]  # fmt: skip
    assert "--local" in ran[-1][2]
    volumes = read_particles(tmp_path / "store-5").read_volumes(range(5))
    assert len({float(volume.sum()) for volume in volumes}) == 5, "none is there twice"
    assert len(read_particles(tmp_path / "store-3")) == 3
