"""Tables of turned maps hold what reading the spectra of each map gives."""

from __future__ import annotations

import pytest
import torch

from gumnet.alignment.band import Band
from gumnet.alignment.grid_part import GridPart
from gumnet.alignment.spectrum import TurnedSpectra
from gumnet.averaging import turned_table
from gumnet.averaging.turned_table import turned_tables
from gumnet.devices import seeded
from gumnet.geometry.so3 import random_rotations


@pytest.mark.parametrize("bytes_at_once", [1, 2**28])
@pytest.mark.parametrize(("box", "shells"), [(32, 5), (16, 7)])
def test_each_fold_and_class_is_read(
    box: int, shells: int, bytes_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turned_table, "_BYTES_AT_ONCE", bytes_at_once)
    maps = torch.randn(4, 2, box, box, box, generator=seeded(1))
    rotations = random_rotations(30, generator=seeded(2)).float()
    band = Band.up_to(box, shells)
    found = list(turned_tables(maps, [0, 2, 3], GridPart.of(rotations), band))
    assert [fold for fold, _, _ in found] == [0, 2, 3]
    for fold, table, power in found:
        turned = TurnedSpectra.of(maps[fold], None, shells)
        values, _ = turned.read(rotations.expand(2, -1, -1, -1), band)
        expected = torch.cat([values[:, 0], values[:, 1]], dim=-1).flatten(0, 1)
        torch.testing.assert_close(table, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))
        torch.testing.assert_close(
            power, values.square().sum(dim=1).flatten(0, 1), rtol=1e-3, atol=1e-3 * float(power.std())
        )
