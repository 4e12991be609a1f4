"""``gumnet info``."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Any

from gumnet.cli.info_store import verify_store
from gumnet.cli.info_tomograms import tomogram_in_words
from gumnet.cli.options import COMMON, Common, Flag, TiltRange, say
from gumnet.errors import InputError

_KNOWN = (
    "known are tables of RELION, Warp, M and STOPGAP (.star), Dynamo (.tbl), AV3 (.em), EMAN2 (.lst, .json) and acryo "
    "(.csv), folders with particles.star, volumes that are not compressed (.mrc, .mrcs, .map, .rec, .em, .hdf) and "
    "weights of networks (.safetensors)"
)


def info(
    path: Path,
    *,
    json: Flag = False,
    voxel_size: float | None = None,
    volumes: Path | None = None,
    wedge_list: Path | None = None,
    tilt_range: TiltRange = None,
    verify: Flag = False,
    memory: float | None = None,
    common: Common = COMMON,
) -> None:
    """Say what a particle table, a folder, a map or a model holds, and what is missing for which command.

    Example
        gumnet info particles.star
        gumnet info average/map.mrc --json
        gumnet info store --verify

    Parameters
    ----------
    path
        Particle table of any known program, folder that gumnet simulate or pack wrote, volumes,
        or weights of a Gum-Net.
    json
        Print one JSON object.
    voxel_size
        Voxel size in Angstrom, where the files do not hold it or hold it wrong.
    volumes
        For tables that name no images: folder of the volumes, or a stack of them.
    wedge_list
        STOPGAP's wedge list, for tables without tilt ranges.
    tilt_range
        Lowest and highest tilt in degrees, for tables without.
    verify
        Read a store that gumnet pack wrote, whole, and compare it with its checksums.
    memory
        Say what gumnet align and average take when told this --memory, in GB.
    """
    device = common.start()
    if verify:
        verify_store(path)
    from gumnet.cli.info_tables import ANGLES, MISSING, NO_POSES, POSES, by_reason, star_facts, table_facts
    from gumnet.io.check import existing_file
    from gumnet.io.tables import SUFFIXES
    from gumnet.io.volumes import holds_volumes

    suffix = path.suffix.lower()
    given = {"voxel_size_angstrom": voxel_size, "volumes": volumes, "wedge_list": wedge_list, "tilt_range": tilt_range}
    if not path.is_dir() and holds_volumes(path):
        facts = _map_facts(path)
    elif suffix == ".safetensors":
        facts = _model_facts(path)
    elif path.is_dir() or suffix in SUFFIXES:
        facts = (star_facts(path) if suffix == ".star" else None) or table_facts(path, given, device, memory)
    else:
        existing_file(path, "a file")
        raise InputError(f"unknown format {path.suffix or 'without a suffix'}", cure=_KNOWN, path=path)
    if json:
        say(json_format.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        if facts.get(POSES) == NO_POSES and (name in ANGLES or name.startswith("largest_shift")):
            continue
        # The tilt of RELION's angles is not that of the microscope.
        label = name.replace("_", " angle_") if name in ANGLES else name
        say(f"{label.replace('_', ' ')}: {_in_words(by_reason(value) if name == MISSING else value)}")


def _map_facts(path: Path) -> dict[str, Any]:
    from gumnet.io.mrc_header import read_header

    header = read_header(path)
    sections, rows, columns = header.shape
    depth, size = header.volume_depth, header.voxel_size_angstrom
    return {
        "format": {".em": "EM", ".hdf": "EMAN2 HDF"}.get(path.suffix.lower(), "MRC"),
        "volumes": sections // depth,
        "voxels_xyz": [columns, rows, depth],
        # Headers hold float32: 5.144 and not 5.143999862670898.
        "voxel_size_angstrom": None if size is None else round(size, 5),
        "type": header.dtype.name,
    }


def _model_facts(path: Path) -> dict[str, Any]:
    from dataclasses import asdict

    from gumnet.model.matched_filter import load_filter
    from gumnet.model.weights import is_filter, load_model

    filters = is_filter(path)
    model = load_filter(path) if filters else load_model(path)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    kind = "weights of a matched filter" if filters else "Gum-Net weights"
    return {"format": kind, "parameters": parameters, **asdict(model.config)}


def _in_words(value: Any) -> str:
    if value is None or value == {}:
        return "none"
    if isinstance(value, dict):
        if all(isinstance(part, dict) for part in value.values()):
            return "".join(f"\n  {name}: {tomogram_in_words(part)}" for name, part in value.items())
        if all(isinstance(part, str) for part in value.values()):
            return "".join(f"\n  {name}: {part}" for name, part in value.items())
        return ", ".join(f"{count} of {label}" for label, count in value.items())
    if isinstance(value, list) and len(value) == 2:
        return f"{value[0]:g} to {value[1]:g}"
    return " x ".join(str(part) for part in value) if isinstance(value, list | tuple) else str(value)
