"""How well found classes agree with true ones; the numbers of the classes themselves mean nothing."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.types import Labels


def contingency(found: Labels, truth: Labels) -> Tensor:
    """Return how many particles have each pair of labels: (found, true), both in ascending order of the labels."""
    if len(found) != len(truth) or len(found) == 0:
        raise InputError(
            f"{len(found)} found labels cannot be compared with {len(truth)} true ones",
            cure="give one true label for each found one, in the same order",
        )
    one, rows = np.unique(found.numpy(), return_inverse=True)
    other, columns = np.unique(truth.numpy(), return_inverse=True)
    counts = np.bincount(rows * len(other) + columns, minlength=len(one) * len(other))
    return torch.from_numpy(counts.reshape(len(one), len(other)))


def rightly_classified(found: Labels, truth: Labels) -> Tensor:
    """Return which of n particles are in the class that stands for their label, (n,), boolean.

    Classes stand for labels one to one so that most particles are right (Hungarian assignment); a class or a label
    beyond the number of the others stands for none. The mean is the accuracy of the Gum-Net paper. With two labels of
    equal size it is 0.5 or more by construction: chance, in n particles, is about ``0.5 + 0.4 / sqrt(n)``.
    """
    from scipy.optimize import linear_sum_assignment

    counts = contingency(found, truth)
    rows, columns = linear_sum_assignment(counts.numpy(), maximize=True)
    classes, labels = np.unique(found.numpy())[rows], np.unique(truth.numpy())[columns]
    right = torch.zeros(len(found), dtype=torch.bool)
    for number, label in zip(classes.tolist(), labels.tolist(), strict=True):
        right |= (found == number) & (truth == label)
    return right


def adjusted_rand_index(found: Labels, truth: Labels) -> float:
    """Return the Rand index adjusted for chance (Hubert and Arabie, 1985): 1 for the same partition, 0 on average.

    Of all pairs of particles, how many are together in both partitions, less what is expected of random ones of the
    same sizes. Two partitions that are both one class, or both all singletons, are the same: 1.
    """
    counts = contingency(found, truth).double()

    def pairs(values: Tensor) -> float:
        return float((values * (values - 1) / 2).sum())

    together, in_found, in_truth = pairs(counts), pairs(counts.sum(dim=1)), pairs(counts.sum(dim=0))
    total = pairs(counts.sum())
    expected = in_found * in_truth / total if total else 0.0
    most = (in_found + in_truth) / 2
    return 1.0 if most == expected else (together - expected) / (most - expected)
