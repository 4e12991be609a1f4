from __future__ import annotations

import math

import pytest
import torch
from oracles.symmetric import symmetric_halves

from gumnet.geometry.so3 import angular_distance_degrees, rotation_from_vector
from gumnet.geometry.symmetry import point_group
from gumnet.symmetry.angular import angular_part
from gumnet.symmetry.frames import frame_grid, refined_frame
from gumnet.symmetry.judge import Axis, judged_axes, kinds_of_turns, order_of


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("C7", {(7, 6)}),
        ("C12", {(12, 4), (6, 2), (4, 2), (3, 2), (2, 1)}),
        ("D3", {(3, 2), (2, 3)}),
        ("D4", {(4, 2), (2, 1), (2, 2)}),
        ("T", {(3, 8), (2, 3)}),
        ("O", {(4, 6), (3, 8), (2, 3), (2, 6)}),
        ("I", {(5, 24), (3, 20), (2, 15)}),
    ],
)
def test_kinds_of_turns(name: str, kinds: set[tuple[int, int]]) -> None:
    """Fold and number of turns of each kind, as the tables of characters have them."""
    group = point_group(name)
    found = kinds_of_turns(group)
    assert sorted(member for kind in found for member in kind) == list(range(1, group.order))
    assert {(order_of(group.rotations[kind[0]]), len(kind)) for kind in found} == kinds


def test_what_any_turn_gives_is_taken_off() -> None:
    """The agreement of f(angle) = a + b cos(3 angle) with itself: b / (a + b) where it changes, and 1 at a third."""

    def evaluate(turns: torch.Tensor) -> torch.Tensor:
        angle = torch.atan2(turns[:, 1, 0], turns[:, 0, 0])
        return 0.8 + 0.2 * torch.cos(3 * angle)

    identity = torch.eye(3, dtype=torch.float64)
    (three,) = judged_axes(point_group("C3"), identity, evaluate, deviation=0.01, about=24)
    assert (three.raw, three.level, three.agreement) == pytest.approx((1.0, 0.8, 1.0))
    assert three.deviation == pytest.approx(0.01 / math.sqrt(2) / 0.2)
    (two,) = judged_axes(point_group("C2"), identity, evaluate, deviation=0.01, about=24)
    assert (two.raw, two.agreement) == pytest.approx((0.6, -1.0))
    assert (three.verdict, two.verdict) == ("holds", "fails")


def test_verdicts() -> None:
    def axis(agreement: float, deviation: float, raw: float) -> str:
        return Axis(2, (0.0, 0.0, 1.0), 1, agreement, deviation, raw, 0.0).verdict

    assert axis(0.8, 0.02, 0.8) == "holds"
    assert axis(0.8, 0.1, 0.8) == "unsure"  # 0.6 and three deviations are more
    assert axis(0.7, 0.02, 0.7) == "fails"
    assert axis(math.nan, 0.02, 0.97) == "round"


@pytest.mark.parametrize("name", ["C5", "D4", "T"])
def test_a_frame_is_near_any(name: str, generator: torch.Generator) -> None:
    group, grid = point_group(name), frame_grid(point_group(name))
    for vector in torch.randn(20, 3, generator=generator, dtype=torch.float64):
        frame = rotation_from_vector(2 * vector)
        if name == "C5":
            nearest = torch.rad2deg(torch.acos((grid[:, :, 2] @ frame[:, 2]).abs().max().clamp(max=1)))
        else:
            nearest = group.distance_degrees(grid, frame).min()
        assert float(nearest) < 6


def test_refinement_finds_frame_and_centre(generator: torch.Generator) -> None:
    halves, pose = symmetric_halves("D3", 10.0, generator)
    part, group = angular_part(halves), point_group("D3")
    off = rotation_from_vector(torch.tensor([0.06, -0.05, 0.04], dtype=torch.float64)) @ pose.rotations[0]
    start = torch.tensor([0.5, -0.4, 0.3], dtype=torch.float64)
    frame, centre = refined_frame(part.comparison(), group, off, start, shells=8, steps=8)
    assert float(group.distance_degrees(frame, pose.rotations[0])) < 0.5
    torch.testing.assert_close(centre + part.centre, pose.shifts[0], atol=0.05, rtol=0)
    # Nothing is gained by steps that turn or shift a cyclic group about or along its axis.
    cyclic = point_group("C3")
    turned, moved = refined_frame(part.comparison(), cyclic, frame, centre, shells=8, steps=4)
    assert float(angular_distance_degrees(turned, frame)) < 0.5
    assert float((moved - centre).norm()) < 0.05
