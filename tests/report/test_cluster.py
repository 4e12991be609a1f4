"""Trees are drawn as they are, and distances are read back for the particles they are of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gumnet.clustering.hierarchy import classes_of, tree_of
from gumnet.errors import InputError
from gumnet.report.cluster import read_distances
from gumnet.report.tree import branches, dendrogram_figure, leaf_order, matrix_figure


def tree_of_points(points: list[float]) -> tuple[np.ndarray, np.ndarray]:
    at = np.array(points, dtype=np.float32)
    distances = np.abs(at[:, None] - at)[np.triu_indices(len(at), 1)]
    return distances, tree_of(distances, "complete")


def test_branches_join_what_was_merged_at_its_distance() -> None:
    _, tree = tree_of_points([0, 10, 1, 13])
    corners, within = branches(tree, classes_of(tree, 2))
    place = {int(leaf): i for i, leaf in enumerate(leaf_order(tree))}
    assert abs(place[0] - place[2]) == 1
    assert abs(place[1] - place[3]) == 1
    assert sorted(corners[:, 1, 1].tolist()) == [1, 3, 13]
    assert within == [1, 2, 0], "the class of each part, and none for the root"
    # The feet of the root stand on the middles of its two parts.
    middles = sorted(corners[:2, [0, 3], 0].mean(axis=1).tolist())
    assert sorted(corners[2, [0, 3], 0].tolist()) == middles
    assert sorted(corners[2, [0, 3], 1].tolist()) == [1, 3]


def test_a_chain_of_many_is_drawn() -> None:
    distances, tree = tree_of_points([1.0 * i for i in range(60)])
    chain = tree_of(distances, "single")
    figure = dendrogram_figure(chain, classes_of(chain, 1), linkage="single")
    assert "60 particles: class 1 of 60" in figure.alt
    assert figure.svg.startswith("<svg")
    assert "from 1.000 to" in matrix_figure(distances, tree).alt


def test_distances_are_read_for_their_particles_alone(tmp_path: Path) -> None:
    path, values = tmp_path / "distances.npz", np.array([0.5, 0.25, 1.0], dtype=np.float32)
    np.savez(path, distances=values, names=np.array(["a", "b", "c"]))
    assert np.array_equal(read_distances(path, ("a", "b", "c")), values)
    with pytest.raises(InputError, match="not in this order"):
        read_distances(path, ("b", "a", "c"))
    np.savez(path, distances=np.array([object()]), names=np.array(["a"]))
    with pytest.raises(InputError, match="cannot be read"):
        read_distances(path, ("a",))
    path.write_text("no zip")
    with pytest.raises(InputError, match="cannot be read"):
        read_distances(path, ("a",))
    with pytest.raises(InputError, match="cannot be read"):
        read_distances(tmp_path / "none.npz", ("a",))


def test_one_class_of_two_particles_is_drawn() -> None:
    distances = np.array([0.7], dtype=np.float32)
    tree = tree_of(distances, "complete")
    assert dendrogram_figure(tree, torch.ones(2, dtype=torch.int64), linkage="complete").alt.endswith("class 1 of 2.")
    assert matrix_figure(distances, tree).svg
