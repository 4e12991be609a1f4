"""Classes from the communities of a graph of pairs."""

from __future__ import annotations

import pytest
import torch

from gumnet.averaging.communities import communities, labels_and_poses
from gumnet.errors import InputError
from gumnet.evaluation.metrics import set_errors
from tests.oracles.pair_graphs import known_graph


def test_two_structures_come_apart_each_with_its_poses(generator: torch.Generator) -> None:
    classes = (torch.arange(150) >= 90).long()
    graph, true, _ = known_graph(150, 0.8, degrees=5.0, voxels=0.5, classes=classes, generator=generator)
    found = communities(graph, 2, generator=generator)
    labels, poses, placed = labels_and_poses(found, 150)
    assert len(found) == 2
    assert float((labels == classes).double().mean()) > 0.95
    for c in (0, 1):
        rows = (classes == c) & (labels == c) & placed
        assert int(rows.sum()) > 0.8 * int((classes == c).sum())
        assert float(set_errors(poses[rows], true[rows]).frobenius.median()) < 0.2
    assert all(part.found.consensus for part in found)


def test_one_class_holds_all(generator: torch.Generator) -> None:
    graph, _, _ = known_graph(40, 0.6, generator=generator)
    (only,) = communities(graph, 1, generator=generator)
    assert torch.equal(only.rows, torch.arange(40))


def test_impossible_numbers_of_classes_are_refused(generator: torch.Generator) -> None:
    graph, _, _ = known_graph(20, 1.0, generator=generator)
    with pytest.raises(InputError, match="0 classes of 20"):
        communities(graph, 0, generator=generator)
