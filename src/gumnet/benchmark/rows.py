"""The rows of the tables: which methods there are, what each is told, and why one cannot run here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gumnet.alignment.aligner import AlignerOptions, make_aligner, method_names
from gumnet.benchmark.aligning import Setting
from gumnet.devices import resolve_device
from gumnet.errors import InputError
from gumnet.model.gumnet import GumNet, GumNetConfig
from gumnet.model.weights import load_model

REFINED = "-refined"
JOINT, MIXED, BOUND = "joint", "joint-mixed", "bound"
TRUE, RELION = "true", "relion"
SPECIAL = (JOINT, MIXED, BOUND, TRUE, RELION)
"""Rows that are no method of pairs."""
NETWORKS = ("gumnet-mp", "gumnet-ap", "gumnet-sc", "gumnet")
"""The networks of Table 1 of the paper: its three ablations, and the whole."""

_AS_PUBLISHED = ("ht", "fa", *NETWORKS)
"""Methods without a refinement of their own; their rows are those of the paper, and NAME-refined has ours."""
_LABELS = {
    "ht": "H-T align",
    "fa": "F&A align",
    "gumnet": "Gum-Net",
    "gumnet-mp": "Gum-Net MP",
    "gumnet-ap": "Gum-Net AP",
    "gumnet-sc": "Gum-Net SC",
    "exhaustive": "exhaustive search",
    "matched": "matched filter, then search",
    JOINT: "joint alignment",
    MIXED: "joint alignment, all structures in one set",
    BOUND: "bound: search against the noise-free structure",
    TRUE: "true poses",
    RELION: "RELION 3.1",
}
_NO_WEIGHTS = "no weights of this network were given (--model, as gumnet train writes it)"


def label(name: str) -> str:
    """Return what a row is called in tables."""
    base = name.removesuffix(REFINED)
    return _LABELS.get(base, base) + (" + refinement" if name.endswith(REFINED) else "")


def left_out(not_run: Mapping[str, str]) -> list[str]:
    """Return a sentence for each reason why rows did not run, with these rows."""
    rows_of: dict[str, list[str]] = {}
    for row, reason in not_run.items():
        rows_of.setdefault(reason, []).append(label(row))
    return [f"Not run: {', '.join(rows)}: {reason}." for reason, rows in rows_of.items()]


def pair_rows() -> tuple[str, ...]:
    """Return the rows of all registered methods, in the order of the paper's table; those of the paper without ours."""
    registered = [name for name in method_names() if name not in ("ht", "fa", "gumnet")]
    return ("ht", "fa", *NETWORKS, f"gumnet{REFINED}", *registered)


def known_rows() -> tuple[str, ...]:
    """Return all names that ``--methods`` of ``gumnet benchmark accuracy`` takes."""
    more = [f"{name}{REFINED}" for name in _AS_PUBLISHED if f"{name}{REFINED}" not in pair_rows()]
    return (*pair_rows(), *more, JOINT, MIXED, BOUND)


def default_rows() -> tuple[str, ...]:
    """Return the rows of Table 1: what the registry offers, joint alignment, and the bound."""
    return (*pair_rows(), JOINT, BOUND)


def check_rows(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the names, each once; an unknown one is an `InputError`."""
    for name in names:
        if name not in known:
            raise InputError(f"--methods knows no {name!r}", cure=f"use some of: {' '.join(known)}")
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class Method:
    """A registered method as a row has it.

    Parameters
    ----------
    method
        Its name in the registry.
    setting
        What it is told.
    """

    method: str
    setting: Setting

    @classmethod
    def of(cls, row: str, setting: Setting, models: Mapping[str, GumNet]) -> Method:
        """Return the method of a row.

        Raises
        ------
        InputError
            If it cannot run here; the message says why.
        """
        base = row.removesuffix(REFINED)
        refine = base not in _AS_PUBLISHED or row.endswith(REFINED)
        method = "gumnet" if base in NETWORKS else base
        if method == "gumnet" and base not in models and base != "gumnet":  # which has weights that ship
            raise InputError(_NO_WEIGHTS)
        made = cls(method, replace(setting, refine=refine, model=models.get(base)))
        # Once here, so that weights that are not there are said before any work.
        make_aligner(method, made.options(), resolve_device(setting.device))
        return made

    def options(self) -> AlignerOptions:
        """Return its options, at the voxel size of the setting."""
        return self.setting.config(self.method, 0).options(self.setting.voxel_size)


def load_networks(paths: Sequence[Path], box: int, device: torch.device) -> dict[str, GumNet]:
    """Return networks on a device by the name of their row, which follows from what is in the files.

    Parameters
    ----------
    box
        Of the volumes that they are for.

    Raises
    ------
    InputError
        If a file holds no network, one for another box, or a network of the same kind as another.
    """
    found: dict[str, GumNet] = {}
    for path in paths:
        model = load_model(path)
        name = network_row(model.config)
        if model.config.box != box:
            cure = f"give one that was trained at {box} voxels"
            raise InputError(f"the network is for a box of {model.config.box} voxels", cure=cure, path=path)
        if name in found:
            problem = f"a network of the same kind, {label(name)}, was given already"
            raise InputError(problem, cure="give one of each", path=path)
        found[name] = model.to(device)
    return found


def network_row(config: GumNetConfig) -> str:
    """Return the row of a network: the whole, or the ablation that it is."""
    if config.pooling != "spectral":
        return "gumnet-mp" if config.pooling == "max" else "gumnet-ap"
    return "gumnet-sc" if config.correlation == "single" else "gumnet"
