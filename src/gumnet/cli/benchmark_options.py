"""What the commands of ``gumnet benchmark`` share: kinds of options, and how an output folder is begun and ended."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from gumnet.cli.options import ARGUMENTS, MANY, Output
from gumnet.errors import InputError

if TYPE_CHECKING:
    from gumnet.benchmark.aligning import Setting
    from gumnet.benchmark.rows import Method
    from gumnet.journal import Journal
    from gumnet.model.gumnet import GumNet

Paths: TypeAlias = Annotated[list[Path] | None, MANY]
Names: TypeAlias = Annotated[list[str] | None, MANY]
Counts: TypeAlias = Annotated[list[int] | None, MANY]
Colours: TypeAlias = Annotated[list[Literal["white", "coloured", "tilt-series"]] | None, MANY]


def command_without_folders() -> str:
    """Return the command that is running, its absolute paths cut to file names: for records that others read."""
    words = ["gumnet", *ARGUMENTS.get()]
    return shlex.join([Path(word).name if word.startswith("/") else word for word in words])


@contextmanager
def resumable(
    out: Path, settings: Mapping[str, Any], inputs: Mapping[str, str], *, resume: bool, output: Output
) -> Iterator[tuple[Path, Journal]]:
    """Yield a folder that becomes ``out`` when the block succeeds, and a journal for what was finished before."""
    from gumnet.benchmark.record import commit
    from gumnet.io.atomic import check_free_folder
    from gumnet.journal import Journal, check_start, journal_path
    from gumnet.report.folder import remove_leftover_folders, whole_folder

    # Figures of two versions of the code have no place in one record.
    inputs = {**inputs, "the code of gumnet": str(commit())}
    check_start(out, resume=resume, overwrite=output.overwrite, check=check_free_folder)
    path = journal_path(out)
    going_on = resume and path.exists()
    with ExitStack() as stack:
        with whole_folder(out, overwrite=output.overwrite or going_on) as folder:
            journal = stack.enter_context(
                Journal.open(path, settings=settings, inputs=inputs, resume=resume, overwrite=output.overwrite)
            )
            yield folder, journal
        remove_leftover_folders(out)  # those of runs that were killed
        journal.remove()


def file_prints(files: Sequence[Path]) -> dict[str, str]:
    """Return what tells whether files changed, by the name of each."""
    from gumnet.fingerprint import of_file

    return {f"file {number} ({path.name})": of_file(path) for number, path in enumerate(files, 1)}


def check_snrs(snrs: Sequence[float] | None) -> None:
    """Raise `InputError` unless all are above 0."""
    for value in snrs or ():
        if not value > 0:
            raise InputError(f"--snr {value:g} is not possible", cure="give numbers above 0")


def option_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as records name them."""
    return {name.removeprefix("--").replace("-", "_"): value for name, value in options.items()}


def ready_methods(
    rows: Sequence[str], setting: Setting, networks: Mapping[str, GumNet]
) -> tuple[dict[str, Method], dict[str, str]]:
    """Return the registered methods among rows, and of those that cannot run here the reason."""
    from gumnet.benchmark.rows import SPECIAL, Method

    ready: dict[str, Method] = {}
    not_run: dict[str, str] = {}
    for row in rows:
        if row in SPECIAL:
            continue
        try:
            ready[row] = Method.of(row, setting, networks)
        except InputError as error:
            not_run[row] = error.problem
    return ready, not_run
