"""Figures of the Gum-Net paper (Zeng and Xu, CVPR 2020), for a column of their own and for nothing else.

They were measured on the authors' data. The same SNR of other noise is another level (docs/benchmarks.md), so they are
no substitute for a baseline run beside a method.
"""

from __future__ import annotations

TABLE_1: dict[str, dict[float, tuple[float, float]]] = {
    row: dict(zip((100.0, 0.1, 0.05, 0.03, 0.01), figures, strict=True))
    for row, figures in {
        "ht": ((0.30, 1.82), (1.22, 4.76), (1.93, 7.26), (2.22, 8.86), (2.38, 11.33)),
        "fa": ((0.33, 1.93), (1.34, 5.39), (1.95, 7.54), (2.22, 8.99), (2.38, 11.32)),
        "gumnet-mp": ((0.90, 3.34), (1.30, 4.93), (1.44, 5.46), (1.53, 5.96), (1.67, 7.28)),
        "gumnet-ap": ((0.60, 2.32), (1.09, 4.20), (1.30, 5.00), (1.45, 5.70), (1.65, 7.18)),
        "gumnet-sc": ((0.70, 2.63), (1.16, 4.41), (1.36, 5.13), (1.48, 5.75), (1.67, 7.24)),
        "gumnet": ((0.41, 1.59), (0.62, 2.41), (0.87, 3.20), (1.13, 4.29), (1.50, 6.78)),
    }.items()
}
"""Mean rotation error (Frobenius) and mean shift error of rounded shifts (voxels), by row and SNR."""

TABLE_2: dict[str, dict[float, float]] = {
    row: dict(zip((0.1, 0.05, 0.03, 0.01), figures, strict=True))
    for row, figures in {
        "ht": (28.9, 37.9, 49.2, 44.1),
        "fa": (27.8, 43.6, 38.1, 45.3),
        "gumnet": (27.8, 29.5, 40.1, 42.2),
    }.items()
}
"""Resolution in Angstrom where the average of 500 ribosomes and the structure correlate to 0.5, by row and SNR."""

SECONDS_A_PAIR: dict[str, float] = {"ht": 1.916, "fa": 1.251, "gumnet": 0.0176}
"""H-T and F&A on one core, Gum-Net on one GPU, both of 2019."""
