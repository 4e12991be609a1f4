"""Densities of atoms and of maps: right voxel, right axis, right sum."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest
import torch

from gumnet.errors import InputError
from gumnet.geometry.warp import voxel_coordinates
from gumnet.simulation.structure import from_atoms, from_file, resample


def pdb(atoms: list[tuple[str, float, float, float]], resname: str = "ALA") -> str:
    lines = [
        f"HETATM{i + 1:5d} {e:>2s}   {resname} A{i + 1:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {e:>2s}"
        for i, (e, x, y, z) in enumerate(atoms)
    ]
    return "\n".join([*lines, "END", ""])


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_atoms_land_on_their_voxels_in_zyx_order(tmp_path: Path) -> None:
    # Four equal atoms whose mean is the origin, 10 A apart in voxels of 2 A: distances differ on each axis.
    atoms = [("C", 10.0, 0.0, 0.0), ("C", -10.0, 6.0, 0.0), ("C", 0.0, -6.0, 14.0), ("C", 0.0, 0.0, -14.0)]
    volume = from_atoms(write(tmp_path / "a.pdb", pdb(atoms)), 24, 2.0, 4.0)
    expected = {(12, 12, 17), (12, 15, 7), (19, 9, 12), (5, 12, 12)}
    peaks = {(*divmod(int(i) // 24, 24), int(i) % 24) for i in volume.flatten().topk(4).indices}
    assert peaks == expected


def test_mass_density_sums_to_the_mass(tmp_path: Path) -> None:
    atoms = [("C", 0.0, 0.0, 0.0), ("N", 7.3, 1.1, -2.0), ("O", -3.0, 5.5, 9.1), ("P", 1.0, -8.0, 3.0)]
    path = write(tmp_path / "a.pdb", pdb(atoms))
    volume = from_atoms(path, 32, 2.0, 8.0, density="mass")
    assert float(volume.sum()) == pytest.approx(12.011 + 14.007 + 15.999 + 30.974, rel=1e-3)


def test_centre_of_mass_is_the_centre_voxel_for_odd_and_even_boxes(tmp_path: Path) -> None:
    atoms = [("C", 100.0, 50.0, 20.0), ("P", 107.3, 51.1, 18.0), ("O", 97.0, 55.5, 29.1)]
    path = write(tmp_path / "a.pdb", pdb(atoms))
    for box in (24, 25):
        volume = from_atoms(path, box, 3.0, 12.0).to(torch.float64)
        points = voxel_coordinates(box, dtype=torch.float64)
        mean = (volume[..., None] * points).sum((0, 1, 2)) / volume.sum()
        assert mean.abs().max() < 0.01


def test_one_atom_is_a_gaussian_of_the_stated_resolution(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdb", pdb([("C", 5.0, 5.0, 5.0)]))
    volume = from_atoms(path, 32, 2.0, 12.0, density="mass")
    sigma = 12.0 / (math.pi * math.sqrt(2.0)) / 2.0
    r2 = (voxel_coordinates(32) ** 2).sum(-1)
    expected = 12.011 * torch.exp(-r2 / (2 * sigma**2)) / (2 * math.pi * sigma**2) ** 1.5
    torch.testing.assert_close(volume, expected, atol=1e-4 * float(expected.max()), rtol=1e-3)


def test_electron_density_weighs_atoms_by_their_scattering(tmp_path: Path) -> None:
    # f(0) of carbon in International Tables C, table 4.3.2.2, is 2.509 A.
    volume = from_atoms(write(tmp_path / "a.pdb", pdb([("C", 0.0, 0.0, 0.0)])), 24, 2.0, 6.0)
    assert float(volume.sum()) == pytest.approx(2.509, rel=1e-3)


def test_water_is_left_out_and_gz_is_read(tmp_path: Path) -> None:
    text = pdb([("C", 0.0, 0.0, 0.0)]).replace("END\n", "") + pdb([("O", 8.0, 0.0, 0.0)], resname="HOH")
    path = tmp_path / "a.pdb.gz"
    path.write_bytes(gzip.compress(text.encode()))
    volume = from_file(path, 24, 2.0)
    assert float(volume.sum()) == pytest.approx(2.509, rel=2e-3)


def test_real_mmcif_fills_its_box(shared_data: Path) -> None:
    volume = from_file(shared_data / "complexes" / "3iyd.cif.gz", 32, 12.0)
    assert volume.shape == (32, 32, 32)
    # 35,254 atoms, mostly C, N and O, of 2 to 3 A each.
    assert 60_000 < float(volume.sum()) < 110_000
    assert float(volume[0].abs().max()) < 0.02 * float(volume.max())


def test_bad_atoms_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        from_atoms(tmp_path / "none.pdb", 32, 12.0, 24.0)
    with pytest.raises(InputError, match="no atoms"):
        from_atoms(write(tmp_path / "empty.pdb", "END\n"), 32, 12.0, 24.0)
    with pytest.raises(InputError, match="cannot be read"):
        from_atoms(write(tmp_path / "bad.cif", "not a cif file\n"), 32, 12.0, 24.0)
    far = write(tmp_path / "far.pdb", pdb([("C", -300.0, 0.0, 0.0), ("C", 300.0, 0.0, 0.0)]))
    with pytest.raises(InputError, match="larger --box"):
        from_atoms(far, 32, 12.0, 24.0)


@pytest.mark.parametrize(("old", "new", "ratio"), [(40, 24, 1.5), (24, 32, 0.8), (33, 20, 1.37)])
def test_resample_keeps_an_analytic_gaussian(old: int, new: int, ratio: float) -> None:
    centre = torch.tensor([1.3, -0.6, 0.4])

    def gaussian(box: int, step: float) -> torch.Tensor:
        return torch.exp(-((voxel_coordinates(box) * step - centre) ** 2).sum(-1) / (2 * 2.5**2))

    out = resample(gaussian(old, 1.0), 1.0, new, ratio)
    expected = gaussian(new, ratio)
    inside = (voxel_coordinates(new) * ratio).abs().amax(-1) < old / 2 - 1
    torch.testing.assert_close(out[inside], expected[inside], atol=3e-4, rtol=0)


def test_resample_at_its_own_size_changes_nothing(generator: torch.Generator) -> None:
    volume = torch.randn(15, 15, 15, generator=generator)
    torch.testing.assert_close(resample(volume, 4.0, 15, 4.0), volume)


def test_recentre_moves_the_mass_to_the_centre() -> None:
    points = voxel_coordinates(32)
    volume = torch.exp(-((points - torch.tensor([4.0, -3.0, 2.5])) ** 2).sum(-1) / 18)
    out = resample(volume, 1.0, 32, 1.0, recentre=True)
    torch.testing.assert_close(out, torch.exp(-(points**2).sum(-1) / 18), atol=2e-3, rtol=0)
