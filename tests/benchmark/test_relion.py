"""RELION as a row, where it is installed."""

from __future__ import annotations

import shutil

import pytest
import torch

import gumnet
from gumnet.averaging.halves import assign_half_sets
from gumnet.benchmark import relion
from gumnet.errors import RunError


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relion, "which", lambda program: None)
    assert relion.missing("relion_refine") == "relion_refine of RELION 3.1 is not on the PATH"


def test_a_program_that_fails_says_what_it_wrote_last(tmp_path: object) -> None:
    with pytest.raises(RunError, match="ended with 3: last words"):
        relion.run(["sh", "-c", "echo first; echo last words >&2; exit 3"], tmp_path)  # type: ignore[arg-type]


@pytest.mark.skipif(shutil.which(relion.REFINE) is None, reason="relion_refine of RELION 3.1 is not on the PATH")
def test_half_maps_of_relion_are_maps_of_both_halves() -> None:
    config = gumnet.SimulationConfig(snr=10.0, box=16, voxel_size_angstrom=24.0, max_shift=1.0, phantoms=1)
    particles = assign_half_sets(gumnet.simulate(particles=8, config=config).particles, 0)
    maps, cost = relion.average(particles, 1.0, relion.Schedule(2, 0, 1, 0))
    assert maps.shape == (2, 16, 16, 16)
    assert bool(torch.isfinite(maps).all())
    assert not torch.equal(maps[0], maps[1])
    assert cost.cpu > 0
