"""``gumnet sharpen``."""

from __future__ import annotations

import sys
from pathlib import Path

from gumnet.cli.half_maps import read_pair, two_maps
from gumnet.cli.options import COMMON, OUTPUT, Common, Flag, Output, say_table
from gumnet.errors import InputError


def sharpen(
    half1: Path,
    half2: Path | None = None,
    *,
    out: Path,
    b_factor: float | None = None,
    guinier: Flag = False,
    fit_from: float | None = None,
    mask: str | None = None,
    no_fsc_weighting: Flag = False,
    voxel_size: float | None = None,
    common: Common = COMMON,
    output: Output = OUTPUT,
) -> None:
    """Sharpen the mean of two half maps by a B-factor, and cut it off at its resolution.

    Example
        gumnet sharpen average --b-factor -300 --out sharp.mrc
        gumnet sharpen half1.mrc half2.mrc --guinier --mask auto --out sharp.mrc

    Say how much: give --b-factor, or --guinier to fit the fall-off of the map
    itself, which takes a resolution beyond 10 Angstrom. The map is not masked;
    a mask only serves to find the resolution.

    Parameters
    ----------
    half1
        First half map (MRC), not filtered, or a folder that gumnet average wrote: its half maps are taken.
    half2
        Second half map, of the same box.
    out
        Map to write (MRC).
    b_factor
        In square Angstrom, negative to sharpen.
    guinier
        Fit the B-factor to the map's amplitudes.
    fit_from
        Resolution in Angstrom where that fit begins; 10 unless given.
    mask
        Mask from 0 to 1 for the correlation of the half maps, or auto to find one from the maps.
    no_fsc_weighting
        Do not weight by the correlation of the half maps: this raises noise as well.
    voxel_size
        Voxel size in Angstrom, where the headers do not hold it.
    """
    common.start()
    maps = two_maps(half1, half2, ("HALF1", "HALF2"))
    if (b_factor is None) == (not guinier):
        raise InputError("how much to sharpen is not clear", cure="give either --b-factor or --guinier")
    if fit_from is not None and not (guinier and fit_from > 0):
        raise InputError(f"--fit-from {fit_from:g} has nothing to begin", cure="give it above 0, with --guinier")
    from gumnet.devices import seeded
    from gumnet.io.atomic import check_free
    from gumnet.io.mrc import write_map
    from gumnet.report.plots import resolution_text
    from gumnet.resolution.assess import assess
    from gumnet.resolution.sharpening import GUINIER_FROM_ANGSTROM, guinier_fit
    from gumnet.resolution.sharpening import sharpen as sharpened

    check_free(out, overwrite=output.overwrite)
    pair = read_pair(*maps, mask=mask, voxel_size=voxel_size)
    size = pair.voxel_size_angstrom
    found = assess(pair.maps, voxel_size_angstrom=size, mask=pair.mask, generator=seeded(common.first_seed))
    curve, resolution = found.curve, found.resolution_angstrom
    if found.corrected is not None:
        curve, resolution = found.corrected.corrected, found.corrected.resolution_angstrom
    weights = None if no_fsc_weighting else curve
    mean = pair.maps.mean(dim=0)
    if b_factor is None:
        start = GUINIER_FROM_ANGSTROM if fit_from is None else fit_from
        fit = guinier_fit(
            mean, voxel_size_angstrom=size, resolution_angstrom=resolution, curve=curve, from_angstrom=start
        )
        b_factor = fit.b_factor_angstrom2
        how = f"fitted to shells {fit.shells[0]} to {fit.shells[1]}"
    else:
        how = "as given"
        if b_factor > 0:
            sys.stderr.write(f"a B-factor of {b_factor:g} damps fine detail; -{b_factor:g} sharpens\n")
    volume = sharpened(
        mean, voxel_size_angstrom=size, b_factor_angstrom2=b_factor, resolution_angstrom=resolution, curve=weights
    )
    write_map(out, volume, size, overwrite=output.overwrite)
    rows = [
        ("B-factor", f"{b_factor:.0f} square Angstrom, {how}"),
        ("weighted by FSC", "no" if weights is None else "yes"),
        ("cut off at", resolution_text(resolution)),
        ("written", str(out)),
    ]
    say_table(rows if pair.mask_words is None else [("mask", pair.mask_words), *rows])
