"""The code of the README runs as it stands, and gives the shapes that its comments promise."""

import re
from pathlib import Path

import gumnet

README = Path(__file__).parents[1] / "README.md"


def test_python_of_the_readme_runs(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[1]
    config = gumnet.SimulationConfig(snr=10.0, phantoms=1)
    pairs = gumnet.simulate(pairs=2, config=config).particles
    gumnet.write_particles(tmp_path / "particles.star", gumnet.simulate(particles=6, config=config).particles)
    monkeypatch.chdir(tmp_path)
    # Fewer of everything, so that the test is quick.
    code = code.replace("iterations=6", "iterations=1").replace("pairs=100", "pairs=2")
    names = {"a": pairs.read_volumes([0, 2]), "b": pairs.read_volumes([1, 3]).numpy()}
    exec(code, names)
    assert names["wedge"].shape == (32, 32, 17)
    assert names["poses"].rotations.shape == (2, 3, 3)
    assert names["result"].half_maps.shape == (2, 32, 32, 32)
    assert names["result"].fsc.shape == (17,)
    assert (tmp_path / "aligned.star").exists()


def test_public_names_are_all_there():
    assert all(hasattr(gumnet, name) for name in gumnet.__all__)
