"""The corrected FSC against that of RELION's relion_postprocess, on the same half maps and masks.

    python benchmarks/fsc_relion.py
    python benchmarks/fsc_relion.py --boxes 64 --draws 20

Needs relion_postprocess (RELION 3.1) on the PATH. Prints a table and writes results/fsc_relion-DATE.json.

Both make phases random by a generator of their own, so that their corrected curves differ by chance, too. Compared is
the mean over draws on both sides, with the standard error of the difference. Neither the curve without mask nor that
within it has any chance in it; they differ since RELION sums the half transform alone, which counts some Friedel pairs
twice. Summed so here, too (column "as RELION"), they are the same to the digits that it writes. RELION names the last
shell above 0.143 where this package goes between shells, so within one shell it is the same resolution.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from typing import Any

import torch
from common import keep
from peers import relion_fsc
from torch import Tensor

from gumnet.averaging.mask import soft_sphere
from gumnet.devices import seeded
from gumnet.geometry.fourier import shell_indices, to_fourier
from gumnet.resolution.auto_mask import automatic_mask
from gumnet.resolution.phase_randomisation import phase_randomisation
from gumnet.simulation.phantom import phantom
from gumnet.types import Volume, Volumes

VOXEL_SIZE_ANGSTROM = 4.0
MASKS = ("sphere", "auto")
NAMES = ("unmasked", "masked", "corrected")


HEAD = " box  noise  mask    unmasked  masked  as RELION  corrected (error, one draw)   shells: here  RELION"


@dataclass(frozen=True)
class Comparison:
    """Largest difference over all shells by curve, where it is, and what chance has to do with it.

    Parameters
    ----------
    differences
        Largest difference of the means over draws, by curve.
    summed_as_relion
        Largest difference without and within the mask where the half transform alone is summed here, too.
    shell
        Where that of the corrected curve is.
    standard_error, largest_z
        Standard error of the difference there, and the largest difference of any shell in its standard errors.
    one_draw_deviation
        Largest deviation over the shells of one draw of RELION from its mean.
    shells
        Resolution here and mean resolution of RELION, in shells.
    """

    differences: dict[str, float]
    summed_as_relion: float
    shell: int
    standard_error: float
    largest_z: float
    one_draw_deviation: float
    shells: tuple[float, float]


def half_maps(box: int, deviation: float, seed: int) -> Volumes:
    """Return a phantom of height 1 twice (2, N, N, N), with white noise."""
    white = torch.randn(2, box, box, box, generator=seeded(seed))
    return phantom(3, box, VOXEL_SIZE_ANGSTROM) + deviation * white


def mask_of(kind: str, halves: Volumes) -> Volume:
    """Return the mask called ``kind``."""
    box = halves.shape[-1]
    return soft_sphere(box, 0.33 * box, 0.08 * box) if kind == "sphere" else automatic_mask(halves.mean(dim=0)).mask


def compare(halves: Volumes, mask: Volume, draws: int) -> Comparison:
    """Compare the mean curves over so many draws of random phases on either side."""
    box = halves.shape[-1]
    theirs = relion_fsc.postprocess(halves, mask, VOXEL_SIZE_ANGSTROM, range(1, draws + 1))
    one_by_one = [
        phase_randomisation(halves, mask, voxel_size_angstrom=VOXEL_SIZE_ANGSTROM, generator=seeded(seed), draws=1)
        for seed in range(draws)
    ]
    ours = {name: torch.stack([getattr(each, name) for each in one_by_one]) for name in NAMES}
    gaps = {name: (ours[name].mean(dim=0) - theirs.curves[name].mean(dim=0)).abs() for name in NAMES}
    spread = ours["corrected"].var(dim=0) + theirs.curves["corrected"].var(dim=0)
    error = (spread / draws).sqrt()
    shell = int(gaps["corrected"].argmax())
    moved = error > 1e-6
    extent = box * VOXEL_SIZE_ANGSTROM
    reached = [extent / each.resolution_angstrom for each in one_by_one]
    relion = [extent / each for each in theirs.resolutions_angstrom]
    return Comparison(
        {name: float(gap.max()) for name, gap in gaps.items()},
        max(
            float((_half_transform_fsc(halves * weight) - theirs.curves[name][0]).abs().max())
            for name, weight in (("unmasked", torch.ones(())), ("masked", mask))
        ),
        shell,
        float(error[shell]),
        float((gaps["corrected"] / error)[moved].max()) if bool(moved.any()) else 0.0,
        float(theirs.curves["corrected"].std(dim=0).max()),
        (sum(reached) / draws, sum(relion) / draws),
    )


def _half_transform_fsc(maps: Volumes) -> Tensor:
    """Return the correlation of two maps with every coefficient of the half transform counted once."""
    box = maps.shape[-1]
    first, second = to_fourier(maps.double())
    shells = shell_indices(box).flatten()

    def sums(values: Tensor) -> Tensor:
        total = torch.zeros(int(shells.max()) + 1, dtype=torch.float64)
        return total.index_add_(0, shells, values.flatten())[: box // 2 + 1]

    return sums((first * second.conj()).real) / (sums(first.abs() ** 2) * sums(second.abs() ** 2)).sqrt()


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", nargs="+", type=int, default=[64, 96])
    parser.add_argument(
        "--noise", nargs="+", type=float, default=[0.3, 1.0], help="its deviation; the phantom is 1 high"
    )
    parser.add_argument("--draws", type=int, default=60, help="of random phases, on either side")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Run the benchmark."""
    options = parsed()
    reason = relion_fsc.missing()
    if reason is not None:
        raise SystemExit(reason)
    torch.set_num_threads(1)
    cells: list[dict[str, Any]] = []
    print(HEAD)
    for box in options.boxes:
        for deviation in options.noise:
            halves = half_maps(box, deviation, options.seed)
            for kind in MASKS:
                found = compare(halves, mask_of(kind, halves), options.draws)
                cells.append({"box": box, "noise": deviation, "mask": kind, **asdict(found)})
                gaps = found.differences
                print(
                    f"{box:4} {deviation:6.2f}  {kind:7} {gaps['unmasked']:8.4f} {gaps['masked']:7.4f} "
                    f"{found.summed_as_relion:10.6f} "
                    f"{gaps['corrected']:10.4f} ({found.standard_error:.4f}, {found.one_draw_deviation:.4f}) "
                    f"{found.shells[0]:18.2f} {found.shells[1]:7.2f}",
                    flush=True,
                )
    keep("fsc_relion", {"options": vars(options), "relion": relion_fsc.version(), "cells": cells})


if __name__ == "__main__":
    main()
