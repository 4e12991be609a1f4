"""``gumnet fsc``."""

from __future__ import annotations

import json as json_format
import math
from pathlib import Path

from gumnet.cli.options import COMMON, Common, Flag, read_mask, say
from gumnet.errors import InputError


def fsc(
    map1: Path,
    map2: Path,
    *,
    mask: Path | None = None,
    truth: Flag = False,
    json: Flag = False,
    voxel_size: float | None = None,
    common: Common = COMMON,
) -> None:
    """Compare two maps by Fourier shell correlation, and say where it falls below the threshold.

    Example: gumnet fsc average/half1.mrc average/half2.mrc

    Parameters
    ----------
    map1
        First map (MRC).
    map2
        Second map, of the same box.
    mask
        Mask from 0 to 1 that both maps are multiplied by.
    truth
        MAP2 is a known structure without noise: the threshold is 0.5 in place of 0.143 for two half maps.
    json
        Print one JSON object.
    voxel_size
        Voxel size in Angstrom, where the headers do not hold it.
    """
    common.start()
    from gumnet.averaging.fsc import GOLD_STANDARD_THRESHOLD, KNOWN_STRUCTURE_THRESHOLD, resolution_angstrom
    from gumnet.averaging.fsc import fsc as correlate
    from gumnet.io.mrc import read_map

    first, size = read_map(map1, voxel_size_angstrom=voxel_size)
    second, second_size = read_map(map2, voxel_size_angstrom=voxel_size)
    box = first.shape[-1]
    if second.shape != first.shape:
        raise InputError(
            f"its box is {second.shape[-1]}, that of {map1} is {box}", cure="give two maps of one box", path=map2
        )
    if abs(size - second_size) > 1e-3 * size:
        raise InputError(
            f"its voxel size is {second_size:g} Angstrom, that of {map1} is {size:g}",
            cure="give maps of one voxel size, or say which is right with --voxel-size",
            path=map2,
        )
    soft = None
    if mask is not None:
        soft = read_mask(mask)
        if soft.shape != first.shape:
            raise InputError(
                f"its box is {soft.shape[-1]}, that of the maps is {box}",
                cure="give a mask of the box of the maps",
                path=mask,
            )
    curve = correlate(first, second, mask=soft)
    threshold = KNOWN_STRUCTURE_THRESHOLD if truth else GOLD_STANDARD_THRESHOLD
    resolution = resolution_angstrom(curve, size, box, threshold=threshold)
    shells = [
        {"shell": k, "resolution_angstrom": box * size / k if k else None, "fsc": float(value)}
        for k, value in enumerate(curve)
    ]
    if json:
        result = {
            "threshold": threshold,
            "resolution_angstrom": resolution if math.isfinite(resolution) else None,  # JSON knows no infinity
            "voxel_size_angstrom": size,
            "box": box,
            "shells": shells,
        }
        say(json_format.dumps(result, indent=2))
        return
    say("shell  Angstrom     FSC")
    for shell in shells[1:]:
        say(f"{shell['shell']:>5}  {shell['resolution_angstrom']:>8.1f}  {shell['fsc']:>6.3f}")
    reached = f"{resolution:.1f} Angstrom" if math.isfinite(resolution) else "none, the curve starts below"
    say(f"resolution at FSC {threshold:g}: {reached}")
