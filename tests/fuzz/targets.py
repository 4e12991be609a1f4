"""What is damaged and who reads it: a small whole file of each kind, and all that gumnet reads from such a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from gumnet.geometry.so3 import random_rotations
from gumnet.io.convert import Target as Format
from gumnet.io.convert import convert
from gumnet.io.em import read_em_values, write_em_values
from gumnet.io.hdf import write_hdf
from gumnet.io.mrc import MrcSource, read_image_stack, read_map, write_map, write_volume_stack
from gumnet.io.mrc_header import read_header
from gumnet.io.pack import pack
from gumnet.io.picks import read_picks
from gumnet.io.read import read_particles
from gumnet.io.relion import IMAGE
from gumnet.io.relion_write import write_particles
from gumnet.io.star import read_star, write_star
from gumnet.io.store import Store
from gumnet.io.tables import read_pose_table
from gumnet.io.tomograms import read_tomograms
from gumnet.io.wedge_list import read_wedge_list
from gumnet.model.gumnet import PRESETS, GumNet
from gumnet.model.weights import load_model, save_model
from gumnet.particles import Particles, Poses
from gumnet.report.cluster import read_distances

BOX, COUNT, VOXEL = 8, 4, 10.0


@dataclass(frozen=True)
class Target:
    """A file to damage, among others that it may name, and the readers that get it.

    Parameters
    ----------
    name
        Of the file.
    readers
        Each takes the file, and reads all that it can.
    beside
        Function that makes the folder with the whole file.
    """

    name: str
    make: Callable[[Path], None]
    readers: tuple[Callable[[Path], object], ...]


def _volumes() -> torch.Tensor:
    return torch.randn(COUNT, BOX, BOX, BOX, generator=torch.Generator().manual_seed(3))


def _particles() -> Particles:
    generator = torch.Generator().manual_seed(4)
    poses = Poses.of(random_rotations(COUNT, generator=generator).double(), torch.rand(COUNT, 3).double())
    return Particles.from_tensors(
        _volumes(),
        voxel_size_angstrom=VOXEL,
        weights=torch.rand(COUNT, BOX, BOX, BOX // 2 + 1, generator=generator),
        poses=poses,
        half_sets=torch.tensor([1, 2, 1, 2]),
        classes=torch.tensor([1, 1, 2, 2]),
    )


def _relion(folder: Path) -> None:
    write_particles(folder / "particles.star", _particles())


def _table(target: Format, name: str) -> Callable[[Path], None]:
    """Return what writes a table of another program, with coordinates, and a stack of the volumes."""

    def make(folder: Path) -> None:
        write_volume_stack(folder / "volumes.mrcs", _volumes(), VOXEL)
        numbers = np.arange(1.0, COUNT + 1)
        places = {f"rlnCoordinate{axis}": 10 * numbers + i for i, axis in enumerate("XYZ")}
        angles = {f"rlnAngle{a}": 20 * numbers + i for i, a in enumerate(("Rot", "Tilt", "Psi"))}
        names = {"rlnMicrographName": [f"TS_{i % 2 + 1}" for i in range(COUNT)]}
        images = {IMAGE: [f"{i + 1}@volumes.mrcs" for i in range(COUNT)], "rlnImagePixelSize": VOXEL}
        tilts = {"gumnetTiltMin": -60.0, "gumnetTiltMax": 60.0}
        write_star(folder / "source.star", {"": pd.DataFrame({**places, **angles, **names, **images, **tilts})})
        if target in ("stopgap", "em"):  # they do not hold tilt ranges
            wedges = {"tomo_num": [1, 1, 2, 2], "tilt_angle": [-60.0, 60.0] * 2}
            write_star(folder / "wedges.star", {"stopgap_wedgelist": pd.DataFrame(wedges)})
        convert(folder / "source.star", folder / name, to=target, voxel_size_angstrom=VOXEL)

    return make


def _tomograms(folder: Path) -> None:
    rows = {"rlnTomoName": ["TS_1"], "rlnVoltage": 300.0, "rlnSphericalAberration": 2.7, "rlnAmplitudeContrast": 0.07}
    sizes = {"rlnTomoTiltSeriesPixelSize": 2.0, "rlnTomoSizeX": 100, "rlnTomoSizeY": 120, "rlnTomoSizeZ": 40}
    tilts = {
        f"rlnTomoProj{a}": [f"[{x},{y},{z},0]"] * 3 for a, x, y, z in (("X", 1, 0, 0), ("Y", 0, 1, 0), ("Z", 0, 0, 1))
    }
    ctf = {"rlnDefocusU": 2e4, "rlnDefocusV": 2e4, "rlnDefocusAngle": 3.0, "rlnMicrographPreExposure": [0.0, 3.0, 6.0]}
    write_star(
        folder / "tomograms.star", {"global": pd.DataFrame({**rows, **sizes}), "TS_1": pd.DataFrame({**tilts, **ctf})}
    )


def _store(folder: Path) -> None:
    pack(_particles(), folder / "store", shard_megabytes=2 * 2 * BOX**3 / 1e6)


def _all_of(path: Path, **given: object) -> None:
    particles = read_particles(path, allow_outside=False, **given)  # type: ignore[arg-type]
    for row in range(min(len(particles), COUNT)):
        particles.read_volumes([row])
        particles.read_weights([row])


def _with_volumes(path: Path) -> None:
    _all_of(path, volumes=path.parent / "volumes.mrcs", voxel_size_angstrom=VOXEL, tilt_range=(-60.0, 60.0))


def _one_volume(path: Path) -> None:
    box = read_header(path).shape[-1]
    MrcSource(((path, 1),), box).read([0])


def _mrc(folder: Path) -> None:
    write_volume_stack(folder / "a.mrcs", _volumes()[:2], VOXEL)


def _half(folder: Path) -> None:
    write_volume_stack(folder / "a.mrcs", _volumes()[:2], VOXEL, dtype=np.float16)


def _bytes(folder: Path) -> None:
    write_map(folder / "a.mrc", _volumes()[0], VOXEL)
    data = bytearray((folder / "a.mrc").read_bytes()[: 1024 + BOX**3])
    data[12:16] = bytes(4)
    (folder / "a.mrc").write_bytes(data)


def _em(folder: Path) -> None:
    write_em_values(folder / "a.em", _volumes()[0].numpy())


def _hdf(folder: Path) -> None:
    write_hdf(folder / "a.hdf", [v.numpy() for v in _volumes()[:2]], VOXEL)


def _packed_hdf(folder: Path) -> None:
    import h5py

    write_hdf(folder / "whole.hdf", [_volumes()[0].numpy()], VOXEL)
    with h5py.File(folder / "whole.hdf") as whole, h5py.File(folder / "a.hdf", "w") as file:
        group = file.create_group("MDF/images/0")
        group.create_dataset("image", data=whole["MDF/images/0/image"][()], compression="gzip", chunks=(2, 8, 8))
        for name, value in whole["MDF/images/0"].attrs.items():
            group.attrs[name] = value
        group.attrs["EMAN.xform.align3d"] = np.eye(3, 4, dtype=np.float32).ravel()
        group.attrs["EMAN.score"] = -0.5


def _csv(folder: Path) -> None:
    (folder / "a.csv").write_text("x,y,z,tomogram,rot,tilt,psi\n1,2,3,TS_1,10,20,30\n4,5.5,6,TS_2,1e1,2,-3\n")


def _text(folder: Path) -> None:
    (folder / "a.txt").write_text("# picks\n1 2 3 TS_1\n4 5.5 6 TS_2\n")


def _model(folder: Path) -> None:
    from dataclasses import replace

    tiny = replace(PRESETS["tiny"], channels=(2, 2, 2, 2, 2), branch_channels=2, hidden=2, box=20)
    save_model(folder / "a.safetensors", GumNet(tiny, generator=torch.Generator().manual_seed(0)))


def _distances(folder: Path) -> None:
    np.savez(folder / "a.npz", distances=np.ones(6, np.float32), names=np.array(["a", "b", "c", "d"]))


_IMAGES = (read_map, read_image_stack, _one_volume)
TARGETS = {
    "mrc": Target("a.mrcs", _mrc, _IMAGES),
    "mrc-float16": Target("a.mrcs", _half, _IMAGES),
    "mrc-bytes": Target("a.mrc", _bytes, _IMAGES),
    "em": Target("a.em", _em, (*_IMAGES, read_em_values)),
    "hdf": Target("a.hdf", _hdf, (*_IMAGES, read_pose_table, _with_volumes)),
    "hdf-packed": Target("a.hdf", _packed_hdf, (*_IMAGES, read_pose_table)),
    "star": Target("particles.star", _relion, (read_star, _all_of, read_pose_table, read_picks)),
    "star-relion5": Target("a.star", _table("relion5", "a.star"), (_all_of, read_pose_table, read_picks)),
    "star-stopgap": Target("a.star", _table("stopgap", "a.star"), (_with_volumes, read_pose_table)),
    "star-wedges": Target("wedges.star", _table("stopgap", "a.star"), (read_wedge_list,)),
    "star-m": Target("a.star", _table("m", "a.star"), (_with_volumes, read_pose_table)),
    "star-tomograms": Target("tomograms.star", _tomograms, (read_tomograms,)),
    "tbl": Target("a.tbl", _table("dynamo", "a.tbl"), (_with_volumes, read_pose_table, read_picks)),
    "em-motive-list": Target("a.em", _table("em", "a.em"), (_with_volumes, read_pose_table)),
    "lst": Target("a.lst", _table("eman2", "a.lst"), (_with_volumes, read_pose_table)),
    "json": Target("a.json", _table("eman2", "a.json"), (_with_volumes, read_pose_table)),
    "acryo": Target("a.csv", _table("acryo", "a.csv"), (_with_volumes, read_pose_table)),
    "picks-csv": Target("a.csv", _csv, (read_picks,)),
    "picks-text": Target("a.txt", _text, (read_picks,)),
    "store-index": Target(
        "store/store.json", _store, (lambda path: Store.open(path.parent).damaged(), lambda path: _all_of(path.parent))
    ),
    "store-table": Target("store/particles.star", _store, (lambda path: _all_of(path.parent),)),
    "store-shard": Target("store/volumes-00001.mrcs", _store, (lambda path: _all_of(path.parent),)),
    "store-weights": Target("store/weights-00000.mrcs", _store, (lambda path: _all_of(path.parent),)),
    "model": Target("a.safetensors", _model, (load_model,)),
    "distances": Target("a.npz", _distances, (lambda path: read_distances(path, ("a", "b", "c", "d")),)),
}
