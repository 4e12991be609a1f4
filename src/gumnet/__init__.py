"""gumnet: alignment and averaging of cryo-electron tomography subtomograms.

The public names load on first use, so that importing the package, and `gumnet --help`, stay fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gumnet.alignment.pairs import align_pairs
    from gumnet.alignment.to_reference import AlignConfig, align
    from gumnet.averaging.config import AverageConfig
    from gumnet.averaging.fsc import fsc
    from gumnet.averaging.joint import average
    from gumnet.averaging.result import Average
    from gumnet.clustering.run import ClusterConfig, Clustering, cluster
    from gumnet.errors import InputError
    from gumnet.io.read import read_particles
    from gumnet.io.relion_write import write_particles
    from gumnet.particles import Particles, Poses
    from gumnet.report.write import write_average
    from gumnet.simulation.dataset import Simulation, SimulationConfig, simulate
    from gumnet.symmetry.find import find_symmetry
    from gumnet.symmetry.result import Symmetry
    from gumnet.training.config import TrainConfig
    from gumnet.training.loop import train

_HOMES = {
    "AlignConfig": "alignment.to_reference",
    "Average": "averaging.result",
    "AverageConfig": "averaging.config",
    "ClusterConfig": "clustering.run",
    "Clustering": "clustering.run",
    "InputError": "errors",
    "Particles": "particles",
    "Poses": "particles",
    "Simulation": "simulation.dataset",
    "SimulationConfig": "simulation.dataset",
    "Symmetry": "symmetry.result",
    "TrainConfig": "training.config",
    "align": "alignment.to_reference",
    "align_pairs": "alignment.pairs",
    "average": "averaging.joint",
    "cluster": "clustering.run",
    "find_symmetry": "symmetry.find",
    "fsc": "averaging.fsc",
    "read_particles": "io.read",
    "simulate": "simulation.dataset",
    "train": "training.loop",
    "write_average": "report.write",
    "write_particles": "io.relion_write",
}

__all__ = [
    "AlignConfig",
    "Average",
    "AverageConfig",
    "ClusterConfig",
    "Clustering",
    "InputError",
    "Particles",
    "Poses",
    "Simulation",
    "SimulationConfig",
    "Symmetry",
    "TrainConfig",
    "align",
    "align_pairs",
    "average",
    "cluster",
    "find_symmetry",
    "fsc",
    "read_particles",
    "simulate",
    "train",
    "write_average",
    "write_particles",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gumnet' has no attribute {name!r}")
    return getattr(import_module(f"gumnet.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
