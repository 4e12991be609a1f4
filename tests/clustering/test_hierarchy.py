"""Trees, classes, medoids and silhouettes against closed forms and scipy's own cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from gumnet.clustering.hierarchy import LINKAGES, classes_of, medoids, silhouettes, square_of, tree_of

LINE = np.array([[0.0], [1.0], [10.0], [12.0], [13.0]])
"""Two groups on a line: 0 1 and 10 12 13."""


def on_a_line() -> np.ndarray:
    return pdist(LINE).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "heights"), [("complete", [1, 1, 3, 13]), ("single", [1, 1, 2, 9]), ("average", [1, 1, 2.5, 67 / 6])]
)
def test_heights_on_a_line(name: str, heights: list[float]) -> None:
    assert tree_of(on_a_line(), name)[:, 2] == pytest.approx(heights)


def test_ward_takes_correlations_for_vectors_of_length_one(generator: torch.Generator) -> None:
    points = torch.nn.functional.normalize(torch.randn(12, 5, generator=generator, dtype=torch.float64), dim=1).numpy()
    distances = (1 - (points @ points.T)[np.triu_indices(12, 1)]).astype(np.float32)
    np.testing.assert_allclose(tree_of(distances, "ward")[:, 2], linkage(points, "ward")[:, 2], rtol=1e-5)


@pytest.mark.parametrize("name", LINKAGES)
def test_a_tree_is_cut_into_exactly_k(name: str, generator: torch.Generator) -> None:
    distances = torch.rand(15 * 14 // 2, generator=generator).numpy()
    tree = tree_of(distances, name)
    for k in range(1, 16):
        found = classes_of(tree, k)
        sizes = found.bincount()[1:]
        assert len(sizes) == k
        assert bool((sizes[:-1] >= sizes[1:]).all()), "the largest first"
        expected = torch.from_numpy(fcluster(tree, k, "maxclust"))
        assert torch.equal(found[:, None] == found, expected[:, None] == expected)


def test_equal_distances_are_cut_into_k_too() -> None:
    assert classes_of(tree_of(np.ones(6, dtype=np.float32), "complete"), 3).bincount().tolist() == [0, 2, 1, 1]


def test_medoids_and_silhouettes_on_a_line() -> None:
    square, classes = square_of(on_a_line()), torch.tensor([2, 2, 1, 1, 1])
    assert medoids(square, classes) == (3, 0)
    # a is the mean distance to the own group, b that to the other.
    b = [35 / 3, 32 / 3, 9.5, 11.5, 12.5]
    a = [1, 1, 2.5, 1.5, 2]
    assert silhouettes(square, classes) == pytest.approx([(y - x) / y for x, y in zip(a, b, strict=True)])
    alone = silhouettes(square, torch.tensor([1, 1, 1, 1, 2]))
    assert alone[4] == 0
    assert not silhouettes(square, torch.ones(5, dtype=torch.int64)).any()


def test_square_is_symmetric() -> None:
    square = square_of(on_a_line())
    assert np.array_equal(square, square.T)
    assert not square.diagonal().any()
    assert square[1, 3] == 11
