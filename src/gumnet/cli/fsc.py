"""``gumnet fsc``."""

from __future__ import annotations

import json as json_format
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gumnet.cli.half_maps import MapPair, read_pair, two_maps
from gumnet.cli.options import COMMON, OUTPUT, Common, Flag, Output, say
from gumnet.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from gumnet.resolution.assess import Assessment
    from gumnet.resolution.mirror import Mirrored


def fsc(
    map1: Path,
    map2: Path | None = None,
    *,
    mask: str | None = None,
    truth: Flag = False,
    json: Flag = False,
    conical: Flag = False,
    local_resolution: Path | None = None,
    plot: Path | None = None,
    voxel_size: float | None = None,
    common: Common = COMMON,
    output: Output = OUTPUT,
) -> None:
    """Compare two maps by Fourier shell correlation, and say where it falls below the threshold.

    Example
        gumnet fsc average
        gumnet fsc half1.mrc half2.mrc --mask auto --conical --plot fsc.png

    With a mask, what it adds to the correlation of half maps is measured with
    random phases and taken off: the column "corrected". Where noise would give
    as much, no resolution is claimed. Maps of one frame that are mirror images
    of each other are pointed out.

    Parameters
    ----------
    map1
        First map (MRC), or a folder that gumnet average wrote: its half maps are compared.
    map2
        Second map, of the same box.
    mask
        Mask from 0 to 1 that both maps are multiplied by, or auto to find one from the maps.
    truth
        MAP2 is a known structure without noise: the threshold is 0.5 in place of 0.143 for two half maps.
    json
        Print one JSON object.
    conical
        Compare direction by direction too, and say whether the resolution depends on it.
    local_resolution
        File (MRC) for the local resolution in Angstrom at every voxel.
    plot
        File (PNG or SVG) for a plot of the curves.
    voxel_size
        Voxel size in Angstrom, where the headers do not hold it.
    """
    common.start()
    maps = two_maps(map1, map2, ("MAP1", "MAP2"))
    from gumnet.devices import seeded
    from gumnet.io.atomic import check_free
    from gumnet.resolution.assess import assess
    from gumnet.resolution.mirror import find_mirrored

    for path in (local_resolution, plot):
        if path is not None:
            check_free(path, overwrite=output.overwrite)
    if plot is not None:
        from gumnet.report.plots import check_plot_name

        check_plot_name(plot)
        if plot == local_resolution:
            raise InputError("is named twice", cure="give the plot and the local resolution two names", path=plot)
    pair = read_pair(*maps, mask=mask, voxel_size=voxel_size)
    found = assess(
        pair.maps,
        voxel_size_angstrom=pair.voxel_size_angstrom,
        mask=pair.mask,
        truth=truth,
        conical=conical,
        generator=seeded(common.first_seed),
    )
    mirror = find_mirrored(pair.maps, voxel_size_angstrom=pair.voxel_size_angstrom, threshold=found.threshold)
    local = None if local_resolution is None else _write_local(local_resolution, pair, overwrite=output.overwrite)
    if plot is not None:
        _write_plot(plot, found, pair, overwrite=output.overwrite)
    if json:
        say(json_format.dumps(_as_json(found, pair, local, mirror), indent=2))
    else:
        _say_text(found, pair, local)
        if mirror is not None:
            say(mirror.words())


def _write_local(path: Path, pair: MapPair, *, overwrite: bool) -> dict[str, Any]:
    """Write the local resolution, and return what to say about it."""
    from gumnet.io.mrc import write_map
    from gumnet.resolution.local import coarsest_angstrom, local_resolution

    size = pair.voxel_size_angstrom
    volume = local_resolution(pair.maps, voxel_size_angstrom=size)
    write_map(path, volume, size, overwrite=overwrite)
    inside = volume if pair.mask is None else volume[pair.mask > 0.5]
    return {
        "file": str(path),
        "finest_angstrom": float(inside.min()),
        "median_angstrom": float(inside.median()),
        "none_is_angstrom": coarsest_angstrom(pair.box, size),
    }


def _curves(found: Assessment) -> dict[str, Tensor]:
    """Return the curves by name, that of the command's own first."""
    if found.corrected is None:
        return {"fsc": found.curve}
    corrected = found.corrected
    return {
        "fsc": found.curve,
        "fsc_unmasked": corrected.unmasked,
        "fsc_randomised": corrected.randomised,
        "fsc_corrected": corrected.corrected,
    }


def _write_plot(path: Path, found: Assessment, pair: MapPair, *, overwrite: bool) -> None:
    from gumnet.report.plots import write_fsc_plot

    names = {"fsc": "FSC", "fsc_unmasked": "no mask", "fsc_randomised": "random phases", "fsc_corrected": "corrected"}
    curves = {names[name]: curve for name, curve in _curves(found).items()}
    reached = {"FSC": (found.threshold, found.resolution_angstrom)}
    if found.corrected is not None:
        curves = {"in mask": curves.pop("FSC"), **curves}
        reached = {"corrected": (found.threshold, found.corrected.resolution_angstrom)}
    write_fsc_plot(
        path,
        curves,
        voxel_size_angstrom=pair.voxel_size_angstrom,
        box=pair.box,
        thresholds=reached,
        overwrite=overwrite,
    )


def _number(value: float) -> float | None:
    """Return a number for JSON, which knows no infinity."""
    return value if math.isfinite(value) else None


def _as_json(found: Assessment, pair: MapPair, local: dict[str, Any] | None, mirror: Mirrored | None) -> dict[str, Any]:
    extent = pair.box * pair.voxel_size_angstrom
    curves = _curves(found)
    shells = [
        {
            "shell": shell,
            "resolution_angstrom": extent / shell if shell else None,
            **{name: float(curve[shell]) for name, curve in curves.items()},
        }
        for shell in range(pair.box // 2 + 1)
    ]
    result: dict[str, Any] = {
        "threshold": found.threshold,
        "resolution_angstrom": _number(found.resolution_angstrom),
        "voxel_size_angstrom": pair.voxel_size_angstrom,
        "box": pair.box,
    }
    if pair.mask_words is not None:
        result["mask"] = pair.mask_words
    if found.corrected is not None:
        result["corrected_resolution_angstrom"] = _number(found.corrected.resolution_angstrom)
        result["randomised_from_shell"] = found.corrected.randomised_from_shell
    if found.conical is not None:
        cones = found.conical
        result["conical"] = {
            "words": cones.words(),
            "is_anisotropic": cones.is_anisotropic,
            "best_angstrom": _number(cones.best_angstrom),
            "worst_angstrom": _number(cones.worst_angstrom),
            "best_axis": cones.axes[0].tolist(),
            "worst_axis": cones.axes[1].tolist(),
            "half_angle_degrees": cones.half_angle_degrees,
            "directions": cones.directions.tolist(),
            "resolutions_angstrom": [_number(value) for value in cones.resolutions_angstrom.tolist()],
        }
    if local is not None:
        result["local_resolution"] = local
    if mirror is not None:
        result["opposite_hands"] = {"axis": "zyx"[mirror.axis], "resolution_angstrom": mirror.resolution_angstrom}
    return {**result, "shells": shells}


def _reached(resolution: float, curve: Tensor, threshold: float) -> str:
    if math.isfinite(resolution):
        return f"{resolution:.1f} Angstrom"
    return "none, the curve starts below" if float(curve[1]) < threshold else "none, noise would do as well"


def _say_text(found: Assessment, pair: MapPair, local: dict[str, Any] | None) -> None:
    extent = pair.box * pair.voxel_size_angstrom
    curves = _curves(found)
    heads = {"fsc": "FSC", "fsc_unmasked": "unmasked", "fsc_randomised": "random", "fsc_corrected": "corrected"}
    widths = {name: max(6, len(heads[name])) for name in curves}
    say("shell  Angstrom  " + "  ".join(f"{heads[name]:>{width}}" for name, width in widths.items()))
    for shell in range(1, pair.box // 2 + 1):
        values = "  ".join(f"{float(curve[shell]):>{widths[name]}.3f}" for name, curve in curves.items())
        say(f"{shell:>5}  {extent / shell:>8.1f}  {values}")
    if pair.mask_words is not None:
        say(pair.mask_words)
    if local is not None:
        say(
            f"local resolution: {local['finest_angstrom']:.1f} Angstrom at its finest, median "
            f"{local['median_angstrom']:.1f}; written to {local['file']}"
        )
    if found.conical is not None:
        say(found.conical.words())
    threshold = found.threshold
    say(f"resolution at FSC {threshold:g}: {_reached(found.resolution_angstrom, found.curve, threshold)}")
    if found.corrected is not None:
        corrected = found.corrected
        reached = _reached(corrected.resolution_angstrom, corrected.corrected, threshold)
        say(f"resolution at FSC {threshold:g}, corrected for the mask: {reached}")
