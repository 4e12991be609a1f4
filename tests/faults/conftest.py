from __future__ import annotations

from pathlib import Path

import pytest

from gumnet.cli.main import main

COUNT = 24


@pytest.fixture(scope="module")
def particles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 small particles, with the structure that they are of."""
    folder = tmp_path_factory.mktemp("simulated") / "particles"
    made = ["--particles", str(COUNT), "--box", "16", "--voxel-size", "20", "--snr", "1", "--phantoms", "1"]
    assert main(["simulate", "--out", str(folder), *made]) == 0
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve particles in boxes that a network takes, and beside it the settings of a short training."""
    folder = tmp_path_factory.mktemp("simulated") / "few"
    made = ["--particles", "12", "--box", "18", "--voxel-size", "20", "--snr", "2", "--phantoms", "1"]
    assert main(["simulate", "--out", str(folder), *made]) == 0
    settings = "pairs_per_epoch = 8\nbatch_size = 4\nvalidation_pairs = 4\n"
    (folder.parent / "train.toml").write_text(settings)
    return folder
