from __future__ import annotations

from pathlib import Path

import pytest

from gumnet.cli.main import main

SMALL = ["--box", "20", "--voxel-size", "16", "--max-shift", "2", "--snr", "100", "--phantoms", "1"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "pairs"
    assert main(["simulate", "--out", str(folder), "--pairs", "2", *SMALL, "--seed", "5"]) == 0
    return folder


@pytest.fixture(scope="module")
def particles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "particles"
    assert main(["simulate", "--out", str(folder), "--particles", "3", *SMALL]) == 0
    return folder
