from __future__ import annotations

import json
from pathlib import Path

import pytest

from gumnet.cli.main import main


@pytest.fixture(scope="module")
def store(particles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "store"
    assert main(["pack", str(particles), "--out", str(out)]) == 0
    return out


def test_pack_says_what_it_made_and_info_what_is_there(
    particles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "store"
    assert main(["pack", str(particles), "--out", str(out), "--type", "float16"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("3 particles, 1 distinct weights, ")
    assert "rounded by 0.02" in line
    assert line.endswith(f"(root mean square): {out}\n")
    assert main(["info", str(out), "--json", "--verify"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "all 3 files are as they were written\n"
    facts = json.loads(printed.out)
    assert facts["store"].startswith("float16, rounded by 0.02")
    assert facts["images"] == "all 3 there"
    assert facts["particles"] == 3


def test_verify_names_the_shard_with_a_flipped_byte(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard = store / "volumes-00000.mrcs"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    assert main(["info", str(store), "--verify"]) == 2
    error = capsys.readouterr().err
    assert "volumes-00000.mrcs (particles 1 to 3): its bytes are not those that were written" in error
    assert error.count("\n") == 1
    shard.write_bytes(whole)
    assert main(["info", str(store), "--verify"]) == 0


def test_only_a_store_can_be_verified(particles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(particles), "--verify"]) == 2
    assert "there are no checksums to verify; give a store" in capsys.readouterr().err


def test_every_command_takes_a_store(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "average"
    assert main(["average", str(store), "--out", str(out), "--iterations", "0"]) == 0
    aligned = tmp_path / "aligned.star"
    command = ["align", str(store), "--reference", str(out / "map.mrc"), "--local", "--out", str(aligned)]
    assert main(command) == 0
    # The new table names the shards, so it is read from the store again.
    again = ["average", str(aligned), "--out", str(tmp_path / "again"), "--iterations", "0", "--allow-outside"]
    assert main(again) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--shard-megabytes", "0"], "shards of 0 MB"),
        (["--workers", "0"], "0 workers"),
        (["--workers", "2", "--cluster", "local:2"], "not both"),
        (["--cluster", "local:none"], "has no number of workers"),
        (["--cluster", "nowhere.toml"], "neither an address nor a TOML file"),
        (["--type", "float8"], "--type"),
    ],
)
def test_impossible_calls_get_one_line(
    options: list[str], words: str, particles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "store"
    assert main(["pack", str(particles), "--out", str(out), *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
