"""Weights on disk: safetensors, with the architecture as JSON in the header, so that a file is enough to load it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gumnet.errors import InputError
from gumnet.io.atomic import write_whole
from gumnet.model.gumnet import GumNet, GumNetConfig

FORMAT = "gumnet-1"
"""Marks our files, and the meaning of their header."""

FILTER = "matched_filter"
"""Where the header of a matched filter's file holds its architecture; a Gum-Net's holds it as ``network``."""

_OURS = "give a model.safetensors that `gumnet train` wrote"


def save_model(path: str | Path, model: GumNet, *, half: bool = False, overwrite: bool = False) -> None:
    """Write a network to a safetensors file.

    Parameters
    ----------
    half
        Store the trained weights as float16, half the size. The statistics of batch norms stay in float32, since small
        variances would vanish.
    """
    trained = {name for name, _ in model.named_parameters()}
    tensors = {
        name: tensor.half() if half and name in trained else tensor for name, tensor in model.state_dict().items()
    }
    with write_whole(path, overwrite=overwrite) as temporary:
        write_tensors(temporary, tensors, {"network": config_to_json(model.config)})


def load_model(path: str | Path, *, box: int | None = None) -> GumNet:
    """Return the network of a file that `save_model` wrote, on the CPU, in float32 and in evaluation mode.

    Parameters
    ----------
    box
        Rebuild it for volumes of this box; by default it is for the box it was trained at.

    Raises
    ------
    InputError
        If the file is missing, is no such file, or does not hold the weights that its header promises.
    """
    tensors, header = read_tensors(path)
    if "network" not in header:
        raise InputError("holds no description of a gumnet network", cure=_OURS, path=path)
    config = config_from_json(header["network"], path)
    with torch.device("meta"):
        model = GumNet(config if box is None else replace(config, box=box))
    check_tensors(tensors, model.state_dict(), path)
    # Buffers that are not stored, the pooling matrices, must exist for real: only stored tensors may stay on meta.
    model = GumNet(model.config)
    model.load_state_dict(tensors)
    return model.eval()


def is_filter(path: str | Path) -> bool:
    """Return whether a file of weights of ours holds a matched filter, and not a Gum-Net."""
    return FILTER in read_header(path)


def config_to_json(config: GumNetConfig) -> str:
    """Return an architecture as JSON."""
    return json.dumps(asdict(config))


def config_from_json(text: str, path: str | Path) -> GumNetConfig:
    """Return the architecture that JSON from the header of ``path`` describes."""
    try:
        values: dict[str, Any] = json.loads(text)
        unknown = sorted(set(values) - {f.name for f in fields(GumNetConfig)})
        if unknown:
            raise InputError(f"unknown field {unknown[0]!r} in the network's description", cure=_OURS, path=path)
        return GumNetConfig(**{**values, "channels": tuple(values["channels"])})
    except InputError as error:
        raise InputError(error.problem, cure=error.cure, path=path) from None
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"the network's description cannot be read ({error})", cure=_OURS, path=path) from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write tensors and JSON texts to a safetensors file."""
    from safetensors.torch import save_file

    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(stored, path, metadata={"format": FORMAT, **header})
    _order_header(path)


def _order_header(path: Path) -> None:
    """Put the texts in the header of a safetensors file in order: it writes them in another one each time."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        texts = {name: header["__metadata__"][name] for name in sorted(header["__metadata__"])}
        ordered = json.dumps({**header, "__metadata__": texts}, separators=(",", ":"), ensure_ascii=False).encode()
        # The same in another order, so no longer; should it be written otherwise, it stays as it was.
        if len(ordered) <= length:
            file.seek(8)
            file.write(ordered.ljust(length))


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a safetensors file of ours, on the CPU, and the texts of its header."""
    return _read(path, tensors=True)


def read_header(path: str | Path) -> dict[str, str]:
    """Return the texts of the header of a safetensors file of ours, without reading its tensors."""
    return _read(path, tensors=False)[1]


def _read(path: str | Path, *, tensors: bool) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    file = Path(path)
    if not file.is_file():
        raise InputError("there is no such file of weights", cure=_OURS, path=file)
    try:
        with safe_open(file, framework="pt") as opened:
            header: dict[str, str] = opened.metadata() or {}
            found: dict[str, Tensor] = {name: opened.get_tensor(name) for name in opened.keys() if tensors}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"is not a whole safetensors file ({error})", cure=_OURS, path=file) from None
    if header.get("format") != FORMAT:
        raise InputError(f"is a safetensors file, but not of the format {FORMAT}", cure=_OURS, path=file)
    return found, header


def check_tensors(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: str | Path) -> None:
    """Raise `InputError` unless ``found`` has the names and shapes of ``wanted`` and finite values."""
    for name in wanted:
        if name not in found:
            raise InputError(f"the weights {name!r} are missing", cure=_OURS, path=path)
        if found[name].shape != wanted[name].shape:
            raise InputError(
                f"the weights {name!r} have shape {tuple(found[name].shape)}, the network that the file describes "
                f"has {tuple(wanted[name].shape)}",
                cure=_OURS,
                path=path,
            )
        if not bool(torch.isfinite(found[name]).all()):
            raise InputError(f"the weights {name!r} hold NaN or infinite values", cure=_OURS, path=path)
    extra = sorted(set(found) - set(wanted))
    if extra:
        raise InputError(f"the weights {extra[0]!r} belong to no layer of the network", cure=_OURS, path=path)
