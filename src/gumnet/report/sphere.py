"""Where particles are seen from: directions on the sphere of the reference, in words and as a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from gumnet.report.plots import INK, WIDTH_INCHES, Figure, finish, style
from gumnet.resolution.conical import direction_words, half_sphere

if TYPE_CHECKING:
    from torch import Tensor

    from gumnet.types import Rotations, Vectors

EXPECTED_IN_CAP = 4.0
"""Particles that a cap holds on average, which makes it as wide as the number of particles allows one to tell."""
CAP_DEGREES = (8.0, 60.0)
PREFERRED_PROBABILITY = 1e-3
"""Directions are called preferred where chance gives as much unevenness less often than this."""
_POINTS_SHOWN = 1500
_CHUNK = 4096


def seen_from(rotations: Rotations, axis: tuple[float, float, float] = (0.0, 0.0, 1.0)) -> Vectors:
    """Return an axis of the tomogram in the frame of the reference, (n, 3), (x, y, z): ``R^T axis``.

    (0, 0, 1), the beam, gives the directions that particles are seen along; (0, 1, 0) is the tilt axis.
    """
    return rotations.detach().cpu().double().mT @ torch.tensor(axis, dtype=torch.float64)


@dataclass(frozen=True)
class Coverage:
    """How directions cover the sphere.

    Parameters
    ----------
    cap_degrees
        Half angle of the caps that were looked at.
    empty
        Share of the sphere with no direction within a cap.
    empty_by_chance
        What as many directions at random leave.
    probability
        How often directions at random are as uneven: the smaller of Rayleigh's test (more on one side) and Bingham's
        (more along an axis or in a plane), doubled.
    densest
        Unit vector (3,): mean direction in the cap that holds most.
    times_mean
        How many times the mean of a cap it holds.
    """

    cap_degrees: float
    empty: float
    empty_by_chance: float
    probability: float
    densest: Vectors
    times_mean: float

    @property
    def is_preferred(self) -> bool:
        """Whether the directions are less even than chance allows."""
        return self.probability < PREFERRED_PROBABILITY

    def words(self) -> str:
        """Return what it says, in two sentences."""
        empty = (
            f"{100 * self.empty:.0f} % of the sphere has no particle within {self.cap_degrees:.0f}° "
            f"(random directions leave {100 * self.empty_by_chance:.0f} %)"
        )
        if not self.is_preferred:
            return f"Viewing directions are spread as evenly as chance would spread them; {empty}."
        return (
            f"Preferred orientation: views along {direction_words(self.densest)} are {self.times_mean:.1f} times as "
            f"frequent as on average, and chance hardly ever does that; {empty}."
        )


def coverage(directions: Vectors) -> Coverage:
    """Return how n directions (n, 3), n > 0, cover the sphere.

    Source of the tests: Mardia and Jupp, Directional Statistics (2000), 10.4.1 and 10.7.1: 3 n |mean|^2 and
    15 n / 2 (tr T^2 - 1 / 3), T the mean of d d^T, follow chi^2 of 3 and 5 degrees of freedom.
    """
    from scipy.stats import chi2

    directions = directions.detach().cpu().double()
    n = len(directions)
    share = min(1.0, EXPECTED_IN_CAP / n)
    low, high = CAP_DEGREES
    angle = min(max(math.degrees(math.acos(1 - 2 * share)), low), high)
    half = half_sphere(1000)
    spots = torch.cat([half, -half])
    counts = torch.zeros(len(spots), dtype=torch.float64)
    for some in torch.split(directions, _CHUNK):
        counts += (spots @ some.T >= math.cos(math.radians(angle))).sum(dim=1)
    held = (1 - math.cos(math.radians(angle))) / 2
    tensor = directions.T @ directions / n
    rayleigh = 3 * n * float(directions.mean(dim=0).square().sum())
    bingham = 7.5 * n * (float(tensor.square().sum()) - 1 / 3)
    probability = min(1.0, 2 * min(float(chi2.sf(rayleigh, 3)), float(chi2.sf(bingham, 5))))
    densest = int(counts.argmax())
    within = directions[directions @ spots[densest] >= math.cos(math.radians(angle))]
    return Coverage(
        angle,
        float((counts == 0).double().mean()),
        (1 - held) ** n,
        probability,
        torch.nn.functional.normalize(within.sum(dim=0), dim=0),
        float(counts[densest]) / (n * held),
    )


def density(directions: Vectors, points: Vectors, width_degrees: float) -> Tensor:
    """Return how dense directions (n, 3) are at points (m, 3), (m,), in units of their mean over the sphere.

    A von Mises-Fisher kernel, ``k / (4 pi sinh k) exp(k cos)``, with k = 1 / width^2.
    """
    k = 1 / math.radians(width_degrees) ** 2
    total = torch.zeros(len(points), dtype=torch.float64)
    for some in torch.split(directions.detach().cpu().double(), _CHUNK):
        total += torch.exp(k * (points @ some.T - 1)).sum(dim=1)
    return total * (2 * k / (1 - math.exp(-2 * k))) / len(directions)


def sphere_figure(rotations: Rotations, *, caption: str, name: str = "orientations") -> Figure:
    """Return the directions of the beam and of the tilt axis on the sphere of the reference, (n, 3, 3), Mollweide."""
    from matplotlib.figure import Figure as Drawing
    from matplotlib.patheffects import withStroke

    longitudes, latitudes = np.linspace(-np.pi, np.pi, 121), np.linspace(-np.pi / 2, np.pi / 2, 61)
    longitude, latitude = np.meshgrid((longitudes[1:] + longitudes[:-1]) / 2, (latitudes[1:] + latitudes[:-1]) / 2)
    axes_of = (np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude))
    points = torch.from_numpy(np.stack(axes_of, axis=-1).reshape(-1, 3))
    alts = []
    with style():
        drawing = Drawing(figsize=(WIDTH_INCHES, WIDTH_INCHES * 1.12), layout="constrained")
        for row, (title, axis) in enumerate((("beam", (0.0, 0.0, 1.0)), ("tilt axis", (0.0, 1.0, 0.0))), start=1):
            directions = seen_from(rotations, axis)
            found = coverage(directions)
            dense = density(directions, points, found.cap_degrees / 1.5).reshape(longitude.shape).numpy()
            panel = drawing.add_subplot(2, 1, row, projection="mollweide")
            limit = max(2.0, float(np.quantile(dense, 0.995)))
            image = panel.pcolormesh(
                longitudes, latitudes, dense, cmap="viridis", vmin=0, vmax=limit, rasterized=True, shading="flat"
            )
            shown = directions[:: math.ceil(len(directions) / _POINTS_SHOWN)]
            panel.scatter(
                torch.atan2(shown[:, 1], shown[:, 0]).numpy(),
                shown[:, 2].clamp(-1, 1).asin().numpy(),
                s=5 if len(shown) < 300 else 1.5,
                color="white",
                edgecolors="#333333",
                linewidths=0.3,
                rasterized=len(shown) > 300,
            )
            for label, (east, north) in {
                "x": (0, 0),
                "y": (np.pi / 2, 0),
                "-y": (-np.pi / 2, 0),
                "z": (0, 1.5),
            }.items():
                panel.annotate(
                    label,
                    (east, north),
                    color="white",
                    fontsize=9,
                    ha="center",
                    va="center",
                    weight="bold",
                    path_effects=[withStroke(linewidth=2.0, foreground="#333333")],
                )
            panel.set(xticks=[], yticks=[])
            panel.set_title(f"{title} in the frame of the map", fontsize=8.5, color=INK)
            bar = drawing.colorbar(image, ax=panel, shrink=0.8)
            bar.set_label("times the mean", fontsize=8.5)
            bar.ax.tick_params(labelsize=8)
            alts.append(f"{title}: densest {float(dense.max()):.1f} times the mean, {100 * found.empty:.0f} % empty")
        return finish(drawing, f"{len(rotations)} particles on the sphere. {'; '.join(alts)}.", caption, name)
