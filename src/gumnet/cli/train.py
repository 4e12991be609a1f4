"""``gumnet train``."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from gumnet.cli.options import COMMON, OUTPUT, READING, Common, Flag, Numbers, Output, Reading, bad_list_beside, say
from gumnet.errors import InputError

if TYPE_CHECKING:
    from gumnet.model.gumnet import GumNet
    from gumnet.training.config import TrainConfig

Record = TypeVar("Record")


def train(
    particles: Path,
    *,
    out: Path,
    preset: Literal["paper", "small", "tiny"] | None = None,
    init: Path | None = None,
    config: Path | None = None,
    resume: Flag = False,
    epochs: int | None = None,
    pairs_per_epoch: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    bands: Numbers = None,
    epochs_per_band: int | None = None,
    consistency: float | None = None,
    tensorboard: Flag = False,
    common: Common = COMMON,
    output: Output = OUTPUT,
    reading: Reading = READING,
) -> None:
    """Train a Gum-Net on particles, without poses, classes or labels.

    Example
        gumnet simulate --out sim --particles 200 --snr 1
        gumnet train sim --out run --preset tiny --epochs 5
        gumnet train sim --out run --preset tiny --epochs 10 --resume
        torchrun --standalone --nproc-per-node 4 --no-python gumnet train sim --out run

    OUT gets model.safetensors (the best weights), metrics.jsonl (all losses) and
    what --resume needs. Options go before the config file, and that before the
    defaults. A config file holds keys of TrainConfig and a table of the network:

        preset = "small"
        epochs = 40
        learning_rate = 5e-4
        [network]
        head = "euler"

    Parameters
    ----------
    particles
        Particle table, or folder that gumnet simulate or gumnet pack wrote.
    out
        Folder of the run.
    preset
        Architecture: paper (110 million parameters), small (the default) or tiny.
    init
        Weights to start from, as when fine-tuning on one's own data.
    config
        TOML file with settings of the run; unknown keys are errors.
    resume
        Go on after the last whole epoch of the run in OUT.
    epochs
        Epochs in all, also when the run resumes.
    pairs_per_epoch
        Random pairs in an epoch.
    batch_size
        Pairs in a step.
    learning_rate
        Step size of Adam in the first epoch.
    bands
        Bands of the correlation loss, rising shares of the Nyquist frequency, as
        0.25 0.5 1; the whole band alone unless given.
    epochs_per_band
        Begin with the lowest band and add the next after so many epochs.
    consistency
        Weight of the loss that the poses of b on a and of a on b are inverse, as 0.1;
        0, which is off, unless given.
    tensorboard
        Write the metrics for TensorBoard too, to OUT/tensorboard; it must be installed.
    """
    if init is not None and preset is not None:
        raise InputError("--init brings its architecture along", cure="leave --preset out")
    from gumnet.training.checkpoint import MODEL
    from gumnet.training.distributed import is_first, is_launched, one_voice
    from gumnet.training.loop import train as run

    given = {
        "preset": preset,
        "epochs": epochs,
        "pairs_per_epoch": pairs_per_epoch,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "bands": None if bands is None else tuple(bands),
        "epochs_per_band": epochs_per_band,
        "consistency": consistency,
        "seed": common.seed,
        "device": common.device,
    }
    with one_voice():
        common.start()
        if reading.skip_bad and is_launched():
            raise InputError("--skip-bad is for one process", cure="pack the particles first: gumnet pack --skip-bad")
        settings, model = _settings(init, config, {name: value for name, value in given.items() if value is not None})
        data = reading.particles(particles, bad_list_beside(out), overwrite=output.overwrite)
        run(data, settings, out=out, model=model, resume=resume, overwrite=output.overwrite, tensorboard=tensorboard)
    if not is_first():
        return
    say(f"the best weights are in {out / MODEL}; to use them:")
    say(f"gumnet align {particles} --reference MAP --method gumnet --model {out / MODEL} --out aligned.star")


def _settings(init: Path | None, config: Path | None, given: dict[str, Any]) -> tuple[TrainConfig, GumNet | None]:
    """Return the settings of a run, and the model that it starts from, if one is given."""
    from gumnet.model.gumnet import PRESETS
    from gumnet.model.weights import load_model

    settings = run_config(config, given)
    model = None if init is None else load_model(init)
    if model is not None and settings.network != PRESETS["small"]:
        raise InputError(
            "--init brings its architecture along", cure="leave preset and [network] out of the file", path=config
        )
    return settings, model


def run_config(path: Path | None, given: dict[str, Any]) -> TrainConfig:
    """Return the settings of a run: ``given`` goes before the TOML file, and that before the defaults.

    Parameters
    ----------
    path
        TOML file with fields of `TrainConfig`, ``preset``, and the fields of `GumNetConfig` in the table ``network``.
    given
        Settings from the command line, by the same names.

    Raises
    ------
    InputError
        If the file cannot be read, or a key is unknown or of the wrong kind; the message names the file.
    """
    from gumnet.model.gumnet import PRESETS
    from gumnet.training.config import TrainConfig

    values = {} if path is None else _read_toml(path)
    network_values = values.pop("network", {})
    if not isinstance(network_values, dict):
        raise InputError("network is not a table", cure="write its fields below a line [network]", path=path)
    preset = given.pop("preset", values.pop("preset", "small"))
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}", cure=f"use {', '.join(PRESETS)}", path=path)
    network = _changed(PRESETS[preset], network_values, path, "network.")
    return replace(_changed(TrainConfig(network=network), values, path, ""), **given)


def _read_toml(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", cure="name a TOML file", path=path) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"is not TOML ({error})", cure="mend that line", path=path) from None


def _changed(record: Record, values: dict[str, Any], path: Path | None, prefix: str) -> Record:
    """Return a frozen dataclass with some fields changed, each of the kind that it has there already."""
    known = [entry.name for entry in fields(record) if entry.name != "network"]  # type: ignore[arg-type]
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise InputError(f"unknown key {prefix}{name}", cure=f"known are {', '.join(known)}", path=path)
        kind = type(getattr(record, name))
        if kind is float and type(value) is int:
            kept[name] = float(value)
        elif kind is tuple and _alike(value, getattr(record, name)):
            kept[name] = tuple(map(type(getattr(record, name)[0]), value))
        elif type(value) is kind:
            kept[name] = value
        else:
            raise InputError(
                f"{prefix}{name} is {value!r}", cure=f"give it a value like {getattr(record, name)!r}", path=path
            )
    try:
        return replace(record, **kept)  # type: ignore[type-var]
    except InputError as error:
        raise InputError(error.problem, cure=error.cure, path=path) from None


def _alike(value: object, now: tuple[object, ...]) -> bool:
    """Return whether a value of a TOML file is a list of numbers like those of ``now``."""
    kinds = {float, int} if isinstance(now[0], float) else {int}
    return isinstance(value, list) and all(type(entry) in kinds for entry in value)
