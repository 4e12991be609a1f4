"""What the likelihood of a pose is multiplied by, so that confidences are honest: measured on the built-in phantoms.

    python benchmarks/temper.py --pairs 60

For several factors and levels of noise: how many poses are given 90 % or more, and how many of those are right to
15 degrees. The factor in use is `gumnet.alignment.likelihood.TEMPER`; no complex that a benchmark reports takes part.
"""

from __future__ import annotations

import argparse
from typing import Literal

import torch
from common import keep

import gumnet
from gumnet.alignment.confidence import RIGHT_DEGREES, log_likelihoods, posterior
from gumnet.alignment.exhaustive import CANDIDATES, SEPARATION_DEGREES, STEPS
from gumnet.alignment.grid_search import search
from gumnet.alignment.growing_bands import GrowingBands
from gumnet.alignment.likelihood import TEMPER
from gumnet.alignment.score import Comparison
from gumnet.geometry.so3 import angular_distance_degrees
from gumnet.simulation.phantom import phantoms

MAX_SHIFT = 6.4
FACTORS = (0.25, 0.35, 0.42, 0.5, 0.6, 0.7, 1.0)
LEVELS: tuple[tuple[float, Literal["coloured", "white"]], ...] = (
    (0.3, "coloured"),
    (0.2, "coloured"),
    (0.1, "coloured"),
    (0.05, "white"),
    (0.02, "white"),
)


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--phantoms", type=int, default=12)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    structures = phantoms(options.phantoms, 32, 12.0, seed=100)
    kept: list[dict[str, object]] = []
    print("  SNR noise      right | factor: share given 90 % or more, right of these, mean confidence")
    for snr, noise in LEVELS:
        config = gumnet.SimulationConfig(snr=snr, noise=noise, ctf=noise != "white", seed=options.seed)
        made = gumnet.simulate(structures, pairs=options.pairs, config=config)
        assert made.pairs is not None
        rows_a, rows_b = made.pairs.T.tolist()
        particles = made.particles
        volumes, weights = particles.read_volumes, particles.read_weights
        comparison = Comparison.of(volumes(rows_a), volumes(rows_b), weights(rows_a), weights(rows_b))
        with torch.no_grad():
            found = search(
                comparison,
                STEPS,
                max_shift=MAX_SHIFT,
                candidates=CANDIDATES,
                separation_degrees=SEPARATION_DEGREES,
            )
            refined = GrowingBands(15, MAX_SHIFT).refined(comparison, found)
            likelihoods = log_likelihoods(comparison, refined.peaks, refined.peak_shells) / TEMPER
        rotations = refined.best.rotations[:, 0]
        right = angular_distance_degrees(rotations.double(), made.pair_truth().rotations) <= RIGHT_DEGREES
        cells, shares = [], {}
        for factor in FACTORS:
            mass, _ = posterior(refined.peaks, likelihoods * factor, rotations)
            high = mass >= 0.9
            of_these = float(right[high].double().mean()) if bool(high.any()) else float("nan")
            shares[f"{factor:g}"] = [float(high.double().mean()), of_these if bool(high.any()) else None]
            cells.append(f"{factor:g}: {float(high.double().mean()):.2f} {of_these:.2f} {float(mass.mean()):.2f}")
        print(f"{snr:5g} {noise:9} {float(right.double().mean()):6.2f} | " + " | ".join(cells), flush=True)
        kept.append({"snr": snr, "noise": noise, "right": float(right.double().mean()), "shares": shares})
    figures = {"pairs": options.pairs, "phantoms": options.phantoms, "seed": options.seed, "levels": kept}
    keep("temper", figures)


if __name__ == "__main__":
    main()
