"""Classes of particles as files, and as the parts of a report."""

from __future__ import annotations

import math
import zipfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gumnet.clustering.config import POSES
from gumnet.clustering.hierarchy import square_of
from gumnet.errors import InputError
from gumnet.io.atomic import write_whole
from gumnet.io.mrc import write_map
from gumnet.io.relion_write import write_particles
from gumnet.report.average_classes import SHOWN_CLASSES
from gumnet.report.page import Section, Table
from gumnet.report.plots import PAGE_INK, save, style
from gumnet.report.slices import slices_figure
from gumnet.report.tree import dendrogram_figure, draw_dendrogram, matrix_figure

if TYPE_CHECKING:
    from gumnet.clustering.hierarchy import Distances
    from gumnet.clustering.run import Clustering

PARTICLES, DISTANCES, REPORT = "particles.star", "distances.npz", "report.html"
DENDROGRAM = "dendrogram"


def class_map(number: int) -> str:
    """Return the name of the file that holds the average of a class."""
    return f"class_{number:03d}.mrc"


def write_classes(folder: Path, made: Clustering, *, overwrite: bool = False) -> None:
    """Write the particles with their classes, the class averages, the distances and the tree to ``folder``.

    ``distances.npz`` holds ``distances`` (condensed, float32), ``names`` of the particles, ``tree`` (scipy's linkage)
    and ``classes``; numpy reads it without pickle.
    """
    size = made.particles.voxel_size_angstrom
    for number, volume in enumerate(made.averages, start=1):
        write_map(folder / class_map(number), volume, size, overwrite=overwrite)
    with write_whole(folder / DISTANCES, overwrite=overwrite) as temporary:
        np.savez(
            temporary,
            distances=made.distances,
            names=np.array(made.particles.names, dtype=np.str_),
            tree=made.tree,
            classes=made.particles.classes.numpy(),
        )
    for suffix in ("png", "svg"):
        with style(PAGE_INK):
            drawing = draw_dendrogram(made.tree, made.particles.classes, ink=PAGE_INK)
            save(drawing, folder / f"{DENDROGRAM}.{suffix}", dpi=200, overwrite=overwrite)
    write_particles(folder / PARTICLES, made.particles, overwrite=overwrite)


def read_distances(path: Path, names: tuple[str, ...]) -> Distances:
    """Return the condensed distances that `write_classes` wrote for particles of these names.

    Raises
    ------
    InputError
        If the file cannot be read, or is of other particles.
    """
    try:
        distances, of = np.asarray(_array(path, "distances"), dtype=np.float32), tuple(_array(path, "names").tolist())
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot be read ({error})", cure=f"give a {DISTANCES} of gumnet cluster", path=path) from None
    if of != names:
        raise InputError(
            f"its distances are of {len(of)} particles that are not, or not in this order, the {len(names)} given",
            cure="give the table that they were computed from",
            path=path,
        )
    return distances


def _array(path: Path, name: str) -> np.ndarray[Any, np.dtype[Any]]:
    """Return an array of an ``.npz`` file that is not packed, if its bytes are all there: nothing larger is made."""
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"{name}.npy")
        if member.compress_type != zipfile.ZIP_STORED or member.file_size > path.stat().st_size:
            raise ValueError(f"{name} is packed, or cut off")
        data = archive.read(member)
    with BytesIO(data) as file:
        major, _ = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
        if math.prod(shape) * dtype.itemsize > len(data):
            raise ValueError(f"{name} is cut off")
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def class_rows(made: Clustering) -> list[tuple[str, ...]]:
    """Return a row for each class: number, particles, medoid, mean scores within and to the others, silhouette."""
    square, classes = square_of(made.distances), made.particles.classes.numpy()
    rows = []
    for number, medoid in enumerate(made.medoids, start=1):
        own = classes == number
        size = int(own.sum())
        # The diagonal holds distances of 0 that are no pairs.
        within = 1 - square[np.ix_(own, own)].sum() / (size * (size - 1)) if size > 1 else np.nan
        others = 1 - square[np.ix_(own, ~own)].mean() if size < len(classes) else np.nan
        rows.append(
            (
                str(number),
                str(size),
                made.particles.names[medoid],
                *("-" if np.isnan(value) else f"{value:.3f}" for value in (within, others)),
                f"{made.silhouettes[own].mean():.3f}" if made.k > 1 else "-",
            )
        )
    return rows


CLASS_HEADER = ("Class", "Particles", "Medoid", "Score within", "Score to others", "Silhouette")


def key_figures(made: Clustering) -> list[tuple[str, str]]:
    """Return the few numbers that say how the classes came out."""
    found = [
        ("Classes" if made.suggestion is None else "Classes, suggested", str(made.k)),
        ("Particles", f"{len(made.particles):,}"),
        ("Pairs", f"{len(made.distances):,}"),
        ("Method", made.config.method),
        ("Linkage", made.config.linkage),
    ]
    if made.k > 1:
        found.append(("Mean silhouette", f"{made.silhouettes.mean():.3f}"))
    return found


def cluster_facts(made: Clustering) -> dict[str, Any]:
    """Return what ``gumnet cluster --json`` prints; None where a score or a silhouette has no meaning."""
    names = ("class", "particles", "medoid", "score_within", "score_to_others", "silhouette")
    kinds = (int, int, str, float, float, float)
    rows = [
        {name: None if text == "-" else kind(text) for name, kind, text in zip(names, kinds, row, strict=True)}
        for row in class_rows(made)
    ]
    facts: dict[str, Any] = {
        "particles": len(made.particles),
        "pairs": len(made.distances),
        "method": made.config.method,
        "linkage": made.config.linkage,
        "k": made.k,
        "mean_silhouette": float(made.silhouettes.mean()) if made.k > 1 else None,
    }
    if made.suggestion is not None:
        facts["suggestion"] = made.suggestion.words
    return {**facts, "classes": rows}


def classes_section(made: Clustering) -> Section:
    """Return the classes: their sizes, scores and averages."""
    posed = made.config.method == POSES
    at = "the poses of the table" if posed else "their poses on the medoid of their class"
    paragraphs = [
        f"Averages of the particles of each class at {at}. Scores are constrained correlations on the region of "
        "Fourier space that both particles observed. Noise makes them small: what counts is how much higher they are "
        "within a class than to the others."
    ]
    if made.suggestion is not None:
        paragraphs.append(made.suggestion.words)
    maps = {f"class {number}": volume for number, volume in enumerate(made.averages[:SHOWN_CLASSES], start=1)}
    caption = "Central slices of the class averages; each row has a grey scale of its own."
    if made.k > len(maps):
        caption += f" The first {len(maps)} of {made.k}."
    figure = slices_figure(maps, made.particles.voxel_size_angstrom, caption=caption)
    table = Table("The classes, the largest first", CLASS_HEADER, tuple(class_rows(made)))
    return Section("Classes", tuple(paragraphs), (figure,), (table,))


def tree_section(made: Clustering) -> Section:
    """Return the tree and the matrix of distances in its order, and what spoke for the number of classes."""
    tables = []
    if made.suggestion is not None and made.suggestion.numbers:
        rows = tuple(
            (str(number), f"{value:.3f}")
            for number, value in zip(made.suggestion.numbers, made.suggestion.silhouettes, strict=True)
        )
        tables.append(Table("Mean silhouette of each number of classes", ("Classes", "Silhouette"), rows, folded=True))
    figures = (
        dendrogram_figure(made.tree, made.particles.classes, linkage=made.config.linkage),
        matrix_figure(made.distances, made.tree),
    )
    return Section("Tree", (), figures, tuple(tables))
