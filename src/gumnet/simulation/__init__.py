"""Subtomograms with known truth, simulated from atoms, maps or built-in phantoms."""

from gumnet.simulation.config import SimulationConfig as SimulationConfig
from gumnet.simulation.dataset import Simulation as Simulation
from gumnet.simulation.dataset import simulate as simulate
from gumnet.simulation.folder import read_pairs as read_pairs
from gumnet.simulation.folder import read_truth as read_truth
from gumnet.simulation.folder import write_simulation as write_simulation
from gumnet.simulation.phantom import phantom as phantom
from gumnet.simulation.phantom import phantoms as phantoms
from gumnet.simulation.structure import from_atoms as from_atoms
from gumnet.simulation.structure import from_file as from_file
from gumnet.simulation.structure import from_map as from_map
