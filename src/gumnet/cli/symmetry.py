"""``gumnet symmetry``."""

from __future__ import annotations

import json as json_format
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gumnet.cli.half_maps import mask_of, read_pair
from gumnet.cli.options import COMMON, OUTPUT, Common, Flag, Output, say
from gumnet.errors import InputError

if TYPE_CHECKING:
    from gumnet.symmetry.result import Candidate, Symmetry
    from gumnet.types import Volume, Volumes

_SHOWN = 8
"""Groups in the table; the JSON object has all."""


def symmetry(
    map: Path,
    *,
    half1: Path | None = None,
    half2: Path | None = None,
    mask: str | None = None,
    max_fold: int = 14,
    out: Path | None = None,
    json: Flag = False,
    voxel_size: float | None = None,
    common: Common = COMMON,
    output: Output = OUTPUT,
) -> None:
    """Find the point group of a map and where its axes are.

    Example
        gumnet symmetry average
        gumnet symmetry map.mrc --half1 half1.mrc --half2 half2.mrc --out new.mrc

    One half map is compared with the other one, turned, so noise does not take
    part; what the halves reach as they are is what a symmetry has to reach. Of
    one map alone its noise is read where there is no density. Where the map
    does not tell, as a smooth or noisy one does not, the answer is that.

    Parameters
    ----------
    map
        Map (MRC), or a folder that gumnet average wrote: its half maps are taken.
    half1
        First half map, not filtered.
    half2
        Second half map, in the frame of the first.
    mask
        Mask from 0 to 1, or auto to find one from the maps; a soft sphere about the centre of mass unless given.
    max_fold
        Highest fold of cyclic and dihedral groups that is tried.
    out
        File (MRC) for the map with its axes put into RELION's setting, as --symmetry of other commands expects it.
    json
        Print one JSON object.
    voxel_size
        Voxel size in Angstrom, where the headers do not hold it.
    """
    common.start()
    from gumnet.geometry.warp import warp
    from gumnet.io.atomic import check_free
    from gumnet.io.mrc import read_map, write_map
    from gumnet.report.average_files import HALF_MAPS, MAP
    from gumnet.symmetry.find import find_symmetry

    if (half1 is None) != (half2 is None):
        raise InputError("one half map is missing", cure="give both --half1 and --half2, or neither")
    if out is not None:
        check_free(out, overwrite=output.overwrite)
    if map.is_dir():
        if half1 is not None:
            raise InputError("a folder brings its own half maps", cure="leave out --half1 and --half2", path=map)
        half1, half2 = (map / name for name in HALF_MAPS)
        map = map / MAP
    whole, size = read_map(map, voxel_size_angstrom=voxel_size)
    maps: Volumes | Volume = whole
    if half1 is not None and half2 is not None:
        pair = read_pair(half1, half2, mask=mask, voxel_size=voxel_size)
        if pair.box != whole.shape[-1] or abs(size - pair.voxel_size_angstrom) > 1e-3 * size:
            raise InputError(
                "its box or voxel size is not that of the half maps", cure="give maps of one grid", path=map
            )
        maps, chosen, mask_words = pair.maps, pair.mask, pair.mask_words
    else:
        chosen, mask_words = mask_of(whole[None], size, mask)
    found = find_symmetry(maps, voxel_size_angstrom=size, mask=chosen, max_fold=max_fold)
    if out is not None and found.found is not None:
        moved = warp(whole[None].float(), found.pose.rotations.float(), found.pose.shifts.float(), oversampling=2)[0]
        write_map(out, moved, size, overwrite=output.overwrite)
    if json:
        say(json_format.dumps(_as_json(found), indent=2))
    else:
        _say_text(found, mask_words, out)


def _say_text(found: Symmetry, mask_words: str | None, out: Path | None) -> None:
    if mask_words is not None:
        say(mask_words)
    say(found.words())
    say(found.setting_words())
    if found.candidates:
        say("")
        say("group  weakest  kinds of axes, and what each reaches")
        for candidate in found.candidates[:_SHOWN]:
            kinds = ", ".join(axis.words() for axis in candidate.axes)
            coarse = "" if candidate.refined else " (not refined)"
            say(f"{candidate.group.name:<5}  {candidate.weakest:>7.2f}  {kinds}{coarse}")
    if out is not None:
        say("")
        say(f"nothing written to {out}: no axes were found" if found.found is None else f"written: {out}")


def _as_json(found: Symmetry) -> dict[str, Any]:
    pose = found.pose
    return {
        "symmetry": found.name,
        "words": found.words(),
        "deviation": _number(found.deviation),
        "resolution_angstrom": _number(found.resolution_angstrom),
        "rotation": pose.rotations[0].tolist(),
        "centre_voxels": pose.shifts[0].tolist(),
        "rot_tilt_psi_degrees": found.angles_degrees,
        "candidates": [_candidate_as_json(candidate) for candidate in found.candidates],
    }


def _candidate_as_json(candidate: Candidate) -> dict[str, Any]:
    return {
        "group": candidate.group.name,
        "order": candidate.group.order,
        "verdict": candidate.verdict if candidate.refined else None,
        "weakest": candidate.weakest,
        "axes": [
            {**asdict(axis), "agreement": _number(axis.agreement), "verdict": axis.verdict} for axis in candidate.axes
        ],
    }


def _number(value: float) -> float | None:
    """Return a number for JSON, which knows neither infinity nor NaN."""
    return value if math.isfinite(value) else None
