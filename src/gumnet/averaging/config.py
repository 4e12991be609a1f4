"""What an average is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from torch import Tensor

from gumnet.alignment.auto import PAIRS, TO_MAP, chosen
from gumnet.alignment.to_reference import AlignConfig
from gumnet.errors import InputError
from gumnet.geometry.symmetry import point_group

if TYPE_CHECKING:
    from gumnet.alignment.aligner import Model

Start = Literal["auto", "halves", "together", "pairs", "blob"]


@dataclass(frozen=True)
class AverageConfig:
    """How to average.

    Parameters
    ----------
    iterations
        How often to align and average once there are first maps; 0 averages at the particles' own poses, which the
        others ignore. Sets of little noise settle in three, and the rest only refines their poses, until they rest; at
        a signal-to-noise ratio of 0.05 poses still became right in the sixth (docs/joint.md).
    classes
        Number of classes. With more than one, particles are sorted by first maps of all of them together, and each
        class is averaged by itself.
    merge
        Whether classes that come out as one structure are put together; they are noted in any case.
    start
        Where the first maps come from (`gumnet.averaging.start`), unless ``initial`` is given. "halves": each half
        finds its own, so that the halves have nothing in common. "together": all particles find one in low shells,
        which both halves start from; only finer shells are independent then. "auto": halves, and together where these
        do not agree. "pairs": as auto, from alignments of each particle with a few others in place of random starts
        (`gumnet.averaging.paired`), by ``method``; random starts where these agree on nothing. "blob": the average of
        each half as it is, without transformation, as a start for methods other than "exhaustive".
    method
        "exhaustive"; "matched", the same search on volumes that a learned filter cleaned; "gumnet", a
        smaller network, or that of ``model``; the baselines "ht" (H-T align) and "fa" (F&A align); or "auto", what
        measurements advise (`gumnet.alignment.auto`): "exhaustive" against maps, "matched" for the pairs of a start.
    refine
        Whether to refine poses continuously.
    symmetry
        Point group of the structure, in RELION's setting, such as C7, D2, O or I1. "auto": none, until the half maps
        are as good as they get; then the one that they have (`gumnet.averaging.found_symmetry`).
    mask
        Volume (N, N, N) from 0 to 1 for the correlation of the halves; it does not touch the maps. What it adds to the
        correlation is taken off by phase randomisation. "auto" finds one from the maps at the end, one for each class
        (`gumnet.resolution.auto_mask`); the notes of the average say which.
    initial
        Map (N, N, N) that both halves start from, low-passed, in place of first maps. They share its frame.
    low_pass_angstrom
        Resolution of the first iteration; that of the first maps unless given, or shell 4 of the box with ``initial``.
    max_shift
        Largest shift along each axis, in voxels; an eighth of the box for the first maps and a quarter from then on
        unless given.
    model
        Network, or path of its weights, for methods "gumnet" and "matched", which else take those that ship.
    seed
        Deals particles without a half set to one, and draws the starts.
    device
        auto, cpu, cuda or cuda:N.
    batch_size
        Particles at a time; as many as memory allows comfortably unless given.
    memory_gigabytes
        Limit of the memory, particles that stay in it included; see `gumnet.averaging.memory`.
    """

    iterations: int = 8
    classes: int = 1
    start: Start = "auto"
    method: str = "exhaustive"
    refine: bool = True
    symmetry: str = "C1"
    mask: Tensor | Literal["auto"] | None = None
    initial: Tensor | None = None
    low_pass_angstrom: float | None = None
    max_shift: float | None = None
    model: Model = None
    seed: int = 0
    device: str = "auto"
    batch_size: int | None = None
    merge: bool = False
    memory_gigabytes: float | None = None

    def __post_init__(self) -> None:
        if self.iterations < 0:
            raise InputError(f"{self.iterations} iterations are not possible", cure="give 0 or more")
        if self.classes < 1:
            raise InputError(f"{self.classes} classes are not possible", cure="give 1 or more")
        if self.start not in get_args(Start):
            raise InputError(f"there is no start {self.start!r}", cure=f"use one of {', '.join(get_args(Start))}")
        if self.classes > 1 and (self.initial is not None or self.start == "blob"):
            raise InputError("one map cannot start several classes", cure="leave the map out, or ask for one class")
        if isinstance(self.mask, str) and self.mask != "auto":
            raise InputError(f"there is no mask {self.mask!r}", cure="give a volume, or auto to find one from the maps")
        apart = self.iterations and self.initial is None and self.start not in ("auto", "together")
        if not self.finds_symmetry and point_group(self.symmetry).order > 1 and apart:
            # Two halves would find their axes apart, and a general turn of one onto the other would lose them.
            raise InputError(
                f"start {self.start!r} is not possible under {self.symmetry}: the halves need one frame",
                cure="use start 'auto' or 'together', an initial map, or C1",
            )
        if self.low_pass_angstrom is not None and not self.low_pass_angstrom > 0:
            raise InputError(f"a low pass of {self.low_pass_angstrom} A is not possible", cure="give one above 0")

    @property
    def finds_symmetry(self) -> bool:
        """Whether the symmetry is to be found."""
        return self.symmetry.strip().lower() == "auto"

    @property
    def method_words(self) -> str:
        """The method by its own name, where it is to be known how an average was made; two where "auto" takes two."""
        to_map, pairs = chosen(self.method, TO_MAP, self.model), chosen(self.method, PAIRS, self.model)
        return to_map if self.start != "pairs" or pairs == to_map else f"{to_map}, {pairs} for pairs"

    def alignment(self, band_angstrom: float, *, symmetry: str | None = None, local: bool = False) -> AlignConfig:
        """Return how particles are aligned to a map within a band.

        Parameters
        ----------
        symmetry
            Where it was found, and not given.
        local
            Whether poses are only refined.
        """
        return AlignConfig(
            method=chosen(self.method, TO_MAP, self.model),
            refine=self.refine,
            local=local,
            symmetry=self.symmetry if symmetry is None else symmetry,
            max_shift=self.max_shift,
            low_pass_angstrom=band_angstrom,
            model=self.model,
            device=self.device,
            batch_size=self.batch_size,
            memory_gigabytes=self.memory_gigabytes,
        )
