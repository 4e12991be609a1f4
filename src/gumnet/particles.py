"""`Particles` and `Poses`: what every stage takes and returns."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.types import Labels, Rotations, Scores, Vectors, Volumes, Weights

if TYPE_CHECKING:
    import pandas as pd

UNASSIGNED = 0
"""Half set and class of a particle that has none yet."""


@dataclass(frozen=True)
class Poses:
    """Poses of n particles: ``x_particle = R @ x_reference + t``, voxels from the centre.

    Parameters
    ----------
    rotations
        Rotation matrices of shape (n, 3, 3), acting on (x, y, z) vectors.
    shifts
        Translations of shape (n, 3), (x, y, z), in voxels.
    scores
        One score a particle, shape (n,); higher is better, NaN where there is none.
    confidences
        Posterior probability that the rotation is right to 15 degrees, shape (n,), NaN where there is none; or None.
        Given that the particle is of the reference's structure, and the true pose among those searched.
    spreads_degrees
        Angular spread of the posterior about the rotation, root mean square, shape (n,), in degrees; or None.
    """

    rotations: Rotations
    shifts: Vectors
    scores: Scores
    confidences: Scores | None = None
    spreads_degrees: Scores | None = None

    @classmethod
    def identity(cls, n: int, dtype: torch.dtype = torch.float64) -> Poses:
        """Return n poses that change nothing, without scores."""
        eye = torch.eye(3, dtype=dtype).expand(n, 3, 3).clone()
        return cls(eye, torch.zeros(n, 3, dtype=dtype), torch.full((n,), torch.nan, dtype=dtype))

    @classmethod
    def of(cls, rotations: Rotations, shifts: Vectors, scores: Scores | None = None) -> Poses:
        """Return poses from rotations (n, 3, 3) and shifts (n, 3), with NaN for scores that are not given."""
        if scores is None:
            scores = torch.full(rotations.shape[:1], torch.nan, dtype=rotations.dtype, device=rotations.device)
        return cls(rotations, shifts, scores)

    @classmethod
    def concatenate(cls, parts: Sequence[Poses]) -> Poses:
        """Return the poses of all ``parts``, in order."""
        return cls(
            torch.cat([p.rotations for p in parts]),
            torch.cat([p.shifts for p in parts]),
            torch.cat([p.scores for p in parts]),
            _joined([p.confidences for p in parts], parts),
            _joined([p.spreads_degrees for p in parts], parts),
        )

    def __len__(self) -> int:
        return len(self.rotations)

    def __getitem__(self, index: Tensor | slice | Sequence[int]) -> Poses:
        confidences = None if self.confidences is None else self.confidences[index]
        spreads = None if self.spreads_degrees is None else self.spreads_degrees[index]
        return Poses(self.rotations[index], self.shifts[index], self.scores[index], confidences, spreads)

    def inverse(self) -> Poses:
        """Return the poses of the reference on the particle: ``x_reference = R' x_particle + t'``."""
        transposed = self.rotations.mT
        return replace(self, rotations=transposed, shifts=-(transposed @ self.shifts[..., None])[..., 0])

    def compose(self, inner: Poses) -> Poses:
        """Return the poses that apply ``inner`` first and then these: ``x -> R (R_inner x + t_inner) + t``."""
        rotations = self.rotations @ inner.rotations
        shifts = (self.rotations @ inner.shifts[..., None])[..., 0] + self.shifts
        return replace(self, rotations=rotations, shifts=shifts)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Poses:
        """Return the poses on another device or in another floating-point type."""
        return Poses(
            self.rotations.to(device=device, dtype=dtype),
            self.shifts.to(device=device, dtype=dtype),
            self.scores.to(device=device, dtype=dtype),
            None if self.confidences is None else self.confidences.to(device=device, dtype=dtype),
            None if self.spreads_degrees is None else self.spreads_degrees.to(device=device, dtype=dtype),
        )


def _joined(columns: Sequence[Scores | None], parts: Sequence[Poses]) -> Scores | None:
    """Return an optional column of all parts, NaN for the parts without it; None if no part has it."""
    if all(column is None for column in columns):
        return None
    filled = [torch.full_like(p.scores, torch.nan) if c is None else c for c, p in zip(columns, parts, strict=True)]
    return torch.cat(filled)


class Source(Protocol):
    """A lazy row of tensors, one a particle: read when asked for, never all at once unless asked for."""

    @property
    def box(self) -> int:
        """Side of the cubic box in voxels."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> Tensor:
        """Return the tensors of the particles at ``indices``, float32 on the CPU, stacked along the first axis.

        Volumes are (k, N, N, N), weights (k, N, N, N // 2 + 1). Raises `InputError` for one that cannot be read.
        """


class InMemory:
    """Marks a source whose tensors are in memory already, often shared by many particles: caching it would copy."""


@dataclass(frozen=True)
class MemorySource(InMemory):
    """Tensors that are in memory already: volumes (n, N, N, N) or weights (n, N, N, N // 2 + 1)."""

    tensors: Tensor

    @property
    def box(self) -> int:
        """Side of the cubic box in voxels."""
        return int(self.tensors.shape[1])

    def __len__(self) -> int:
        return len(self.tensors)

    def read(self, indices: Sequence[int]) -> Tensor:
        """Return the tensors at ``indices`` as float32."""
        return self.tensors[list(indices)].to("cpu", torch.float32)


@dataclass(frozen=True)
class SharedWeights(InMemory):
    """One set of Fourier weights (N, N, N // 2 + 1) that all n particles share."""

    weights: Weights
    count: int

    @property
    def box(self) -> int:
        """Side of the cubic box in voxels."""
        return int(self.weights.shape[0])

    def __len__(self) -> int:
        return self.count

    def read(self, indices: Sequence[int]) -> Tensor:
        """Return the shared weights once for each of ``indices``, without copying."""
        return self.weights.to("cpu", torch.float32).expand(len(indices), *self.weights.shape)


@dataclass(frozen=True)
class SubsetSource:
    """Some rows of another source, in the given order."""

    parent: Source
    indices: Sequence[int]

    @property
    def box(self) -> int:
        """Side of the cubic box in voxels."""
        return self.parent.box

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, indices: Sequence[int]) -> Tensor:
        """Return the rows at ``indices`` of this subset."""
        return self.parent.read([self.indices[i] for i in indices])


@dataclass(frozen=True)
class CachedSource:
    """Another source, of which what was read is kept in memory: each row is read once, up to a limit.

    Beyond the limit rows are read again each time; those kept stay, which is best where all are read in turn.

    Parameters
    ----------
    parent
        The source.
    limit_bytes
        How much to keep.
    """

    parent: Source
    limit_bytes: int
    _kept: dict[int, Tensor] = field(default_factory=dict, repr=False, compare=False)

    @property
    def box(self) -> int:
        """Side of the cubic box in voxels."""
        return self.parent.box

    def __len__(self) -> int:
        return len(self.parent)

    def read(self, indices: Sequence[int]) -> Tensor:
        """Return the tensors at ``indices``, from memory where they were read before."""
        missing = sorted({i for i in indices if i not in self._kept})
        if not missing:
            return torch.stack([self._kept[i] for i in indices])
        fresh = dict(zip(missing, self.parent.read(missing), strict=True))
        rows = torch.stack([self._kept[i] if i in self._kept else fresh[i] for i in indices])
        for index, tensor in fresh.items():
            if (len(self._kept) + 1) * tensor.nbytes > self.limit_bytes:
                break
            # A copy: a row of a batch would keep the whole batch in memory.
            self._kept[index] = tensor.clone()
        return rows


def is_cheap(source: Source) -> bool:
    """Return whether reading a source costs nothing, so that a cache would only copy what is in memory."""
    if isinstance(source, SubsetSource):
        return is_cheap(source.parent)
    return isinstance(source, InMemory | CachedSource)


@dataclass(frozen=True)
class Particles:
    """A set of subtomograms with their poses and metadata; volumes are read batch by batch.

    Parameters
    ----------
    volumes
        Lazy source of n cubic volumes (N, N, N).
    poses
        Poses of the n particles on the reference.
    voxel_size_angstrom
        Size of a voxel.
    weights
        Lazy source of Fourier weights (N, N, N // 2 + 1), or None where everything was observed.
    half_sets
        1 or 2 for each particle, 0 where it has none yet.
    classes
        Class number of each particle, from 1; 0 where it has none.
    names
        One name a particle, as its file calls it.
    table, optics
        The metadata rows as they were read, kept for writing; None for particles that never were in a table.
    """

    volumes: Source
    poses: Poses
    voxel_size_angstrom: float
    weights: Source | None = None
    half_sets: Labels = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    classes: Labels = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    names: tuple[str, ...] = ()
    table: pd.DataFrame | None = None
    optics: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        n = len(self.volumes)
        for name in ("half_sets", "classes"):
            if len(getattr(self, name)) == 0:
                object.__setattr__(self, name, torch.zeros(n, dtype=torch.int64))
        if not self.names:
            object.__setattr__(self, "names", tuple(f"particle {i + 1}" for i in range(n)))
        lengths = {
            "poses": len(self.poses),
            "half_sets": len(self.half_sets),
            "classes": len(self.classes),
            "names": len(self.names),
        }
        if self.weights is not None:
            lengths["weights"] = len(self.weights)
        if self.table is not None:
            lengths["table"] = len(self.table)
        for name, length in lengths.items():
            if length != n:
                raise InputError(f"{name} has {length} entries for {n} volumes", cure="give one a volume")
        if self.weights is not None and self.weights.box != self.volumes.box:
            raise InputError(
                f"the Fourier weights are for a box of {self.weights.box}, the volumes are of {self.volumes.box}",
                cure="use weights made at the box of the particles",
            )

    @classmethod
    def from_tensors(
        cls,
        volumes: Volumes,
        *,
        voxel_size_angstrom: float,
        weights: Weights | None = None,
        poses: Poses | None = None,
        classes: Labels | None = None,
        half_sets: Labels | None = None,
    ) -> Particles:
        """Return particles held in memory.

        Parameters
        ----------
        volumes
            Shape (n, N, N, N), [z, y, x].
        weights
            Shape (N, N, N // 2 + 1), shared by all, or (n, N, N, N // 2 + 1); None where everything was observed.
        """
        n = len(volumes)
        empty = torch.zeros(0, dtype=torch.int64)
        source: Source | None = None
        if weights is not None:
            source = SharedWeights(weights, n) if weights.ndim == 3 else MemorySource(weights)
        return cls(
            volumes=MemorySource(volumes),
            poses=Poses.identity(n) if poses is None else poses,
            voxel_size_angstrom=voxel_size_angstrom,
            weights=source,
            classes=empty if classes is None else classes,
            half_sets=empty if half_sets is None else half_sets,
        )

    def __len__(self) -> int:
        return len(self.volumes)

    @property
    def box(self) -> int:
        """Side of the cubic box in voxels."""
        return self.volumes.box

    def read_volumes(self, indices: Sequence[int]) -> Volumes:
        """Return the volumes at ``indices``, shape (k, N, N, N), float32."""
        return self.volumes.read(indices)

    def read_weights(self, indices: Sequence[int]) -> Weights | None:
        """Return the Fourier weights at ``indices``, shape (k, N, N, N // 2 + 1), or None if all was observed."""
        return None if self.weights is None else self.weights.read(indices)

    def batches(self, size: int) -> Iterator[list[int]]:
        """Yield all indices in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield list(range(start, min(start + size, len(self))))

    def select(self, indices: Sequence[int] | Tensor) -> Particles:
        """Return the particles at ``indices``, in that order, still lazy."""
        index = torch.as_tensor(indices, dtype=torch.int64).cpu()
        rows = array("q", index.contiguous().numpy().tobytes())  # an eighth of a tuple
        return replace(
            self,
            volumes=SubsetSource(self.volumes, rows),
            weights=None if self.weights is None else SubsetSource(self.weights, rows),
            poses=self.poses[index],
            half_sets=self.half_sets[index],
            classes=self.classes[index],
            names=tuple(self.names[i] for i in rows),
            table=None if self.table is None else self.table.iloc[index.numpy()].reset_index(drop=True),
        )

    def to_pandas(self) -> pd.DataFrame:
        """Return a table with one row a particle; see `gumnet.dataframe.to_pandas`."""
        from gumnet.dataframe import to_pandas

        return to_pandas(self)

    @classmethod
    def from_pandas(cls, frame: pd.DataFrame, particles: Particles) -> Particles:
        """Return those of ``particles`` that a table names by its index; see `gumnet.dataframe.from_pandas`."""
        from gumnet.dataframe import from_pandas

        return from_pandas(frame, particles)

    def with_poses(self, poses: Poses) -> Particles:
        """Return the same particles with other poses."""
        return replace(self, poses=poses)

    def cached(self, gigabytes: float = 4.0) -> Particles:
        """Return the same particles, which keep the volumes and weights that were read, up to ``gigabytes``.

        For what reads them more than once. Sources that are in memory already stay as they are. Selections of the
        result share what it keeps.
        """
        volumes, weights = self.volumes, self.weights
        # Numbers a row. Shares in this ratio hold the volumes and the weights of equally many particles.
        volume_size = 0 if is_cheap(volumes) else self.box
        weight_size = 0 if weights is None or is_cheap(weights) else self.box // 2 + 1
        limit, total = round(gigabytes * 1e9), volume_size + weight_size
        if volume_size:
            volumes = CachedSource(volumes, limit * volume_size // total)
        if weights is not None and weight_size:
            weights = CachedSource(weights, limit * weight_size // total)
        return replace(self, volumes=volumes, weights=weights)
