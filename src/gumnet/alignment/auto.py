"""Method "auto": the method that the measurements advise for what is aligned to what.

The rule, and why (docs/benchmarks.md, "Which method when", has the tables; errors are rotations, by Frobenius norm):

Pairs of particles: "matched".
    Both volumes are noisy, so there is noise to clean from both. On simulated pairs of complexes that the filter was
    not trained on it is significantly better than "exhaustive" at SNR 0.1, and with a wedge on both volumes from 0.3
    on; at the other noisy levels the two cannot be told apart, and nearly clean pairs are refined as they are, as
    exactly. It takes up to a quarter more time. "gumnet" is never significantly better than it; "ht" and "fa" are far
    behind in noise. Classes come from the same pairs, so clusters follow; which method tells classes better was not
    measured.
Particles against a map: "exhaustive".
    Against a map with little noise of its own, weighted correlation is the best statistic for Gaussian noise already,
    and what a filter does to the particle can only lose. Of 40 real ribosomes it finds 15, the
    learned filter 10 and "gumnet" 3.

What a volume itself tells of its noise is not asked: a rule that depended on it would align two halves of a set, or two
batches, by different methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gumnet.errors import InputError

if TYPE_CHECKING:
    from gumnet.alignment.aligner import Model

AUTO = "auto"


@dataclass(frozen=True)
class Task:
    """What is aligned to what, and the method for it.

    Parameters
    ----------
    method
        Its name in the registry.
    reason
        Why, for people: what follows "since".
    """

    method: str
    reason: str

    def words(self) -> str:
        """Return what was chosen and why, in one line."""
        return f"method auto: {self.method}, since {self.reason}"


PAIRS = Task("matched", "both volumes of a pair are noisy, and cleaning them first finds more (docs/benchmarks.md)")
TO_MAP = Task("exhaustive", "against a map the plain search finds more than on cleaned volumes (docs/benchmarks.md)")


def chosen(method: str, task: Task, model: Model = None) -> str:
    """Return the method by the name that it has in the registry: that of the task for "auto", any other as it is.

    Raises
    ------
    InputError
        If a model is given for "auto", which would not use it or not know what it is for.
    """
    if method != AUTO:
        return method
    if model is not None:
        raise InputError("method 'auto' takes no model", cure="leave it out, or name the method that it is for")
    return task.method
