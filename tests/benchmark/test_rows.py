"""Rows come from the registry of methods; what cannot run says why."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gumnet.alignment import aligner
from gumnet.benchmark.aligning import Setting
from gumnet.benchmark.rows import Method, check_rows, default_rows, known_rows, label, load_networks, network_row
from gumnet.errors import InputError
from gumnet.model.gumnet import PRESETS, GumNet, GumNetConfig
from gumnet.model.weights import save_model

SETTING = Setting(6.4, 12.0)
CPU = torch.device("cpu")


def test_the_table_has_the_rows_of_the_paper_and_the_bound() -> None:
    rows = default_rows()
    for row in ("ht", "fa", "gumnet-mp", "gumnet-ap", "gumnet-sc", "gumnet", "gumnet-refined", "exhaustive", "joint"):
        assert row in rows
    assert rows[-1] == "bound"
    assert set(rows) < set(known_rows())


def test_a_method_that_is_registered_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "new" not in default_rows()
    monkeypatch.setitem(aligner.METHODS, "new", aligner.METHODS["exhaustive"])
    assert "new" in default_rows()
    assert Method.of("new", SETTING, {}).setting.refine


@pytest.mark.parametrize(
    ("row", "method", "refine"),
    [("ht", "ht", False), ("fa-refined", "fa", True), ("exhaustive", "exhaustive", True)],
)
def test_rows_of_the_paper_are_as_published(row: str, method: str, refine: bool) -> None:
    found = Method.of(row, SETTING, {})
    assert (found.method, found.setting.refine) == (method, refine)


def test_a_network_without_weights_says_so() -> None:
    with pytest.raises(InputError, match="no weights"):
        Method.of("gumnet-sc", SETTING, {})


def test_files_of_weights_say_which_row_they_are(tmp_path: Path) -> None:
    tiny = PRESETS["tiny"]
    paths = []
    for name, config in (
        ("gumnet", tiny),
        ("gumnet-ap", GumNetConfig(**{**vars(tiny), "pooling": "average"})),
        ("gumnet-mp", GumNetConfig(**{**vars(tiny), "pooling": "max"})),
        ("gumnet-sc", GumNetConfig(**{**vars(tiny), "correlation": "single"})),
    ):
        assert network_row(config) == name
        paths.append(tmp_path / f"{name}.safetensors")
        save_model(paths[-1], GumNet(config))
    found = load_networks(paths, 32, CPU)
    assert list(found) == ["gumnet", "gumnet-ap", "gumnet-mp", "gumnet-sc"]
    method = Method.of("gumnet-sc", SETTING, found)
    assert (method.method, method.setting.refine) == ("gumnet", False)
    assert method.setting.model is found["gumnet-sc"]
    with pytest.raises(InputError, match="same kind"):
        load_networks([paths[0], paths[0]], 32, CPU)
    with pytest.raises(InputError, match="box of 32"):
        load_networks(paths[:1], 24, CPU)


def test_unknown_rows_are_refused_and_repeated_ones_measured_once() -> None:
    assert check_rows(["ht", "fa", "ht"], known_rows()) == ("ht", "fa")
    with pytest.raises(InputError, match="'htt'"):
        check_rows(["htt"], known_rows())


def test_labels_are_those_of_the_paper() -> None:
    assert label("gumnet-refined") == "Gum-Net + refinement"
    assert label("somebody") == "somebody"
