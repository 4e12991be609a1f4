"""A known volume is projected as a microscope would; the reader must give it back, whatever wrote the stack."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from gumnet.errors import InputError
from gumnet.geometry.ctf import ctf, dose_weights
from gumnet.geometry.fourier import shell_sums, to_fourier, to_real
from gumnet.geometry.rigid import matrix_from_relion
from gumnet.geometry.tomography import filter_images, premultiplied, project
from gumnet.geometry.warp import voxel_coordinates
from gumnet.io.star import write_star
from gumnet.io.tilt_stack import tilt_stack_sources
from gumnet.io.tomograms import Tomograms, read_tomograms

BOX, PIXEL, RAW_PIXEL = 24, 8.0, 2.0
TILTS = np.arange(-60.0, 61.0, 4.0)
SIZE = (1000.0, 1200.0, 400.0)


@pytest.fixture
def volume(generator: torch.Generator) -> Tensor:
    places = 3.5 * torch.randn(8, 3, dtype=torch.float64, generator=generator).clamp(-1.2, 1.2)
    squared = ((voxel_coordinates(BOX, dtype=torch.float64)[..., None, :] - places) ** 2).sum(-1)
    return torch.exp(-squared / 2.5).sum(-1)


def tomograms(folder: Path, name: str = "TS_1", hand: float = -1.0) -> Tomograms:
    table = pd.DataFrame(
        {
            "rlnTomoName": [name],
            "rlnVoltage": 300.0,
            "rlnSphericalAberration": 2.7,
            "rlnAmplitudeContrast": 0.07,
            "rlnTomoTiltSeriesPixelSize": RAW_PIXEL,
            "rlnTomoHand": hand,
            "rlnTomoSizeX": SIZE[0],
            "rlnTomoSizeY": SIZE[1],
            "rlnTomoSizeZ": SIZE[2],
        }
    )
    rotations = Rotation.from_euler("y", np.array(TILTS)[:, None], degrees=True).as_matrix()
    tilts = pd.DataFrame(
        {
            "rlnDefocusU": 30000.0 + 20 * TILTS,
            "rlnDefocusV": 28000.0,
            "rlnDefocusAngle": 40.0,
            "rlnCtfScalefactor": np.cos(np.deg2rad(TILTS)),
            "rlnMicrographPreExposure": np.abs(TILTS),
        }
    )
    for i, axis in enumerate("XYZ"):
        tilts[f"rlnTomoProj{axis}"] = [f"[{r[i, 0]:.9f},{r[i, 1]:.9f},{r[i, 2]:.9f},0]" for r in rotations]
    path = folder / f"tomograms{hand}{name}.star"
    write_star(path, {"global": table, name: tilts}, overwrite=True)
    return read_tomograms(path)


def transfer_at(depth_offsets: Tensor) -> Tensor:
    tilts = torch.tensor(TILTS)
    return ctf(
        BOX,
        PIXEL,
        30000.0 + 20 * tilts + depth_offsets,
        torch.full_like(tilts, 28000.0) + depth_offsets,
        torch.full_like(tilts, 40.0),
        scale=torch.cos(torch.deg2rad(tilts)),
    ) * dose_weights(BOX, PIXEL, tilts.abs())


def matrices() -> Tensor:
    return torch.tensor(Rotation.from_euler("y", np.array(TILTS)[:, None], degrees=True).as_matrix())


def write_stack(path: Path, images: Tensor) -> None:
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(images.numpy().astype(np.float16))
        mrc.voxel_size = PIXEL


def frames(visible: Tensor | None = None, **columns: object) -> pd.DataFrame:
    flags = torch.ones(len(TILTS), dtype=torch.int64) if visible is None else visible.to(torch.int64)
    row: dict[str, object] = {
        "rlnTomoName": "TS_1",
        "rlnImageName": "stack.mrcs",
        "rlnTomoVisibleFrames": "[" + ",".join(str(int(f)) for f in flags) + "]",
        "rlnCenteredCoordinateXAngst": 0.0,
        "rlnCenteredCoordinateYAngst": 0.0,
        "rlnCenteredCoordinateZAngst": 0.0,
        "rlnOpticsGroup": 1,
    }
    return pd.DataFrame([row | columns])


def optics(*, premultiplied: int = 1) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "rlnOpticsGroup": [1],
            "rlnImagePixelSize": [PIXEL],
            "rlnCtfDataAreCtfPremultiplied": [premultiplied],
        }
    )


def agreement(volumes: Tensor, weights: Tensor, truth: Tensor) -> tuple[float, float]:
    """Return the correlation with ``weights * truth`` within a third of the sampling rate, and the scale."""
    model = to_real(weights * to_fourier(truth.to(weights.dtype)), BOX)
    a, b = to_fourier(volumes), to_fourier(model)
    cross = shell_sums((a * b.conj()).real, BOX)[..., 1:9].sum()
    norm_a, norm_b = (shell_sums(x.abs() ** 2, BOX)[..., 1:9].sum() for x in (a, b))
    return float(cross / (norm_a * norm_b).sqrt()), float(cross / norm_b)


def test_premultiplied_and_plain_images_give_the_same_weighted_volume(tmp_path: Path, volume: Tensor) -> None:
    transfer = transfer_at(torch.zeros(len(TILTS)))
    images = filter_images(project(volume[None], matrices())[0], transfer)
    results = []
    for flag, stack in ((1, filter_images(images, transfer)), (0, images)):
        write_stack(tmp_path / "stack.mrcs", stack)
        volumes, weights = tilt_stack_sources(frames(), optics(premultiplied=flag), tomograms(tmp_path), tmp_path)
        assert volumes.box == weights.box == BOX
        assert len(volumes) == len(weights) == 1
        v, w = volumes.read([0]), weights.read([0])
        assert v.shape == (1, BOX, BOX, BOX)
        assert w.shape == (1, BOX, BOX, BOX // 2 + 1)
        assert v.dtype == w.dtype == torch.float32
        correlation, scale = agreement(v[0], w[0], volume)
        assert correlation > 0.97
        assert scale == pytest.approx(1, abs=0.03)
        results.append((v, w))
    torch.testing.assert_close(results[0][1], results[1][1])
    assert float((results[0][0] - results[1][0]).abs().max()) < 0.01 * float(results[0][0].abs().max())


def test_stacks_of_all_tilts_and_of_the_visible_ones_give_the_same(tmp_path: Path, volume: Tensor) -> None:
    transfer = transfer_at(torch.zeros(len(TILTS)))
    images = filter_images(project(volume[None], matrices())[0], transfer**2)
    visible = torch.ones(len(TILTS), dtype=torch.bool)
    visible[[0, 7, 30]] = False
    results = []
    for stack in (images, images[visible]):
        write_stack(tmp_path / "stack.mrcs", stack)
        volumes, weights = tilt_stack_sources(frames(visible), optics(), tomograms(tmp_path), tmp_path)
        results.append((volumes.read([0]), weights.read([0])))
    torch.testing.assert_close(results[0], results[1])
    assert agreement(results[0][0][0], results[0][1][0], volume)[0] > 0.97


def test_a_subset_of_tilts_adds_up_to_all(tmp_path: Path, volume: Tensor) -> None:
    write_stack(tmp_path / "stack.mrcs", project(volume[None], matrices())[0] / 10)
    table = tomograms(tmp_path)
    every = tilt_stack_sources(frames(), optics(), table, tmp_path)
    parts = [tilt_stack_sources(frames(), optics(), table, tmp_path, tilts=slice(start, None, 2)) for start in (0, 1)]
    total = parts[0][0].read([0]) + parts[1][0].read([0])
    torch.testing.assert_close(total, every[0].read([0]), atol=1e-5, rtol=1e-4)


def test_the_subtomogram_angles_turn_the_volume(tmp_path: Path, volume: Tensor) -> None:
    angles = torch.tensor([30.0, 50.0, -20.0], dtype=torch.float64)
    turn = matrix_from_relion(angles)
    transfer = transfer_at(torch.zeros(len(TILTS)))
    # x_tomogram = A_sub x_volume: the volume's frame is what the sources must give.
    images = project(volume[None], matrices() @ turn)[0]
    write_stack(tmp_path / "stack.mrcs", filter_images(images, transfer**2))
    columns = dict(zip(("Rot", "Tilt", "Psi"), angles.tolist(), strict=True))
    table = frames(**{f"rlnTomoSubtomogram{name}": value for name, value in columns.items()})
    volumes, weights = tilt_stack_sources(table, optics(), tomograms(tmp_path), tmp_path)
    assert agreement(volumes.read([0])[0], weights.read([0])[0], volume)[0] > 0.97


def test_defocus_follows_the_depth_of_the_particle(tmp_path: Path, volume: Tensor) -> None:
    """Coordinates of RELION 5, RELION 4 and Warp name the same place; Warp's hand is the opposite."""
    position = torch.tensor([700.0, 300.0, -200.0], dtype=torch.float64)
    depth = matrices()[:, 2] @ position
    write_stack(tmp_path / "stack.mrcs", project(volume[None], matrices())[0])
    centred = {f"rlnCenteredCoordinate{a}Angst": float(x) for a, x in zip("XYZ", position, strict=True)}
    corner = position + torch.tensor(SIZE, dtype=torch.float64) * RAW_PIXEL / 2
    drop = [f"rlnCenteredCoordinate{a}Angst" for a in "XYZ"]
    relion4 = {f"rlnCoordinate{a}": float(x / RAW_PIXEL) for a, x in zip("XYZ", corner, strict=True)}
    warp = {f"rlnCoordinate{a}": float(x / PIXEL) for a, x in zip("XYZ", corner, strict=True)}
    cases = [
        (frames(**centred), tomograms(tmp_path, hand=-1.0)),
        (frames(**relion4).drop(columns=drop), tomograms(tmp_path, hand=-1.0)),
        (
            frames(rlnTomoName="TS_1.tomostar", **warp).drop(columns=drop),
            tomograms(tmp_path, name="TS_1.tomostar", hand=1.0),
        ),
    ]
    weights = [tilt_stack_sources(table, optics(), series, tmp_path)[1].read([0]) for table, series in cases]
    torch.testing.assert_close(weights[0], weights[1])
    torch.testing.assert_close(weights[0], weights[2])
    images = torch.zeros(1, len(TILTS), BOX, BOX)
    expected = premultiplied(images, matrices(), transfer_at(-depth))[1]
    torch.testing.assert_close(weights[0], expected, atol=1e-4, rtol=1e-3)


def test_volumes_and_weights_of_a_batch_read_each_stack_once(
    tmp_path: Path, volume: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gumnet.io.tilt_stack as module

    write_stack(tmp_path / "stack.mrcs", project(volume[None], matrices())[0])
    reads: list[Path] = []
    original = module.read_image_stack

    def counted(path: Path) -> Tensor:
        reads.append(path)
        return original(path)

    monkeypatch.setattr(module, "read_image_stack", counted)
    table = pd.concat([frames(), frames()], ignore_index=True)
    volumes, weights = tilt_stack_sources(table, optics(), tomograms(tmp_path), tmp_path)
    assert not reads
    volumes.read([0, 1])
    weights.read([1, 0])
    assert len(reads) == 2


def test_what_is_wrong_is_said(tmp_path: Path, volume: Tensor) -> None:
    table = tomograms(tmp_path)
    images = project(volume[None], matrices())[0]
    write_stack(tmp_path / "stack.mrcs", images)
    with pytest.raises(InputError, match="rlnImagePixelSize"):
        tilt_stack_sources(frames(), optics().drop(columns="rlnImagePixelSize"), table, tmp_path)
    with pytest.raises(InputError, match="there is no tomogram TS_2"):
        tilt_stack_sources(frames(rlnTomoName="TS_2"), optics(), table, tmp_path)
    with pytest.raises(InputError, match="column rlnTomoName missing"):
        tilt_stack_sources(frames().drop(columns="rlnTomoName"), optics(), table, tmp_path)
    with pytest.raises(InputError, match=r"rlnTomoVisibleFrames of stack\.mrcs is not 31 times"):
        tilt_stack_sources(frames(torch.ones(5)), optics(), table, tmp_path)
    with pytest.raises(InputError, match=r"absent\.mrcs: no such file, which rlnImageName names"):
        tilt_stack_sources(frames(rlnImageName="absent.mrcs"), optics(), table, tmp_path)
    volumes, _ = tilt_stack_sources(
        pd.concat([frames(), frames(rlnImageName="absent.mrcs")], ignore_index=True), optics(), table, tmp_path
    )
    with pytest.raises(InputError, match=r"absent\.mrcs: no such file"):
        volumes.read([1])
    write_stack(tmp_path / "stack.mrcs", images[:9])
    visible = torch.ones(len(TILTS))
    visible[3] = 0
    volumes, _ = tilt_stack_sources(frames(visible), optics(), table, tmp_path)
    with pytest.raises(InputError, match="holds 9 images, for 31 tilts of which 30 are visible"):
        volumes.read([0])
