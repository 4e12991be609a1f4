"""The number of classes that distances suggest, and one where there is nothing to find."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gumnet.clustering.hierarchy import Distances
from gumnet.clustering.suggest import suggest
from gumnet.devices import seeded


def noisy(truth: list[int], within: float, *, spread: float, seed: int) -> Distances:
    """Return distances near 1, lower by ``within`` for two of one class."""
    labels, draw = torch.tensor(truth), seeded(seed)
    one, other = torch.triu_indices(len(labels), len(labels), 1)
    noise = spread * torch.randn(len(one), generator=draw)
    return (0.95 + noise - within * (labels[one] == labels[other])).numpy().astype(np.float32)


@pytest.mark.parametrize("linkage", ["complete", "average", "ward"])
@pytest.mark.parametrize("k", [2, 3, 5])
def test_groups_are_counted(k: int, linkage: str) -> None:
    distances = noisy(sorted([*range(k)] * 8), 0.1, spread=0.01, seed=k)
    found = suggest(distances, linkage, generator=seeded(0))
    assert found.k == k
    assert found.p == pytest.approx(1 / 40), "no shuffle comes near"
    assert found.words.startswith(f"Clear: {k} classes")


def test_noise_is_one_class() -> None:
    suggested = [
        suggest(noisy([0] * 24, 0.0, spread=0.02, seed=seed), "complete", generator=seeded(0)) for seed in range(6)
    ]
    assert sum(found.k == 1 for found in suggested) >= 5, "one in twenty is wrong by chance"
    one = next(found for found in suggested if found.k == 1)
    assert "No grouping stands out" in one.words


def test_particles_of_unequal_quality_are_no_classes() -> None:
    wrong = 0
    for seed in range(6):
        draw = seeded(seed)
        quality = 0.1 + 0.3 * torch.rand(24, generator=draw)
        one, other = torch.triu_indices(24, 24, 1)
        noise = 0.01 * torch.randn(len(one), generator=draw)
        distances = (1 - quality[one] * quality[other] + noise).numpy().astype(np.float32)
        wrong += suggest(distances, "complete", generator=seeded(0)).k > 1
    assert wrong <= 1


def test_one_seed_one_suggestion() -> None:
    distances = noisy([0, 0, 0, 1, 1, 1, 1], 0.01, spread=0.02, seed=1)
    assert suggest(distances, "ward", generator=seeded(3)) == suggest(distances, "ward", generator=seeded(3))


def test_a_number_that_is_nearly_as_good_is_named() -> None:
    # Two pairs of groups: two classes of two, or four.
    labels = torch.tensor(sorted([0, 1, 2, 3] * 5))
    one, other = torch.triu_indices(20, 20, 1)
    near = labels[one] // 2 == labels[other] // 2
    distances = 0.9 - 0.2 * near - 0.2 * (labels[one] == labels[other])
    noise = 0.01 * torch.randn(len(one), generator=seeded(1))
    found = suggest((distances + noise).numpy().astype(np.float32), "average", generator=seeded(0))
    best, second = sorted(found.silhouettes)[:-3:-1]
    assert found.k == found.numbers[found.silhouettes.index(best)]
    assert found.words.startswith("There are groups, their number is not certain")
    assert f"{found.numbers[found.silhouettes.index(second)]} classes are nearly as good" in found.words


def test_two_particles_and_three() -> None:
    two = suggest(np.ones(1, dtype=np.float32), "complete", generator=seeded(0))
    assert two.k == 1
    assert two.words.startswith("Two particles")
    assert suggest(np.array([0.1, 1.0, 1.0], dtype=np.float32), "complete", generator=seeded(0)).k == 1
