"""Options that several commands share, and what they set up.

Nothing here imports torch at the top: ``gumnet --help`` has to be quick.
"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

from cyclopts import Group, Parameter

from gumnet.errors import InputError
from gumnet.progress import LOGGED
from gumnet.versions import versions

if TYPE_CHECKING:
    import torch

    from gumnet.alignment.auto import Task
    from gumnet.particles import Particles
    from gumnet.types import Volume

Flag = Annotated[bool, Parameter(negative="", show_default=False)]
MANY = Parameter(consume_multiple=True, negative="")
Numbers: TypeAlias = Annotated[list[float] | None, MANY]
"""An option that takes no value and is off unless given."""

TiltRange = Annotated[tuple[float, float] | None, Parameter(negative="", allow_leading_hyphen=True)]
"""Lowest and highest tilt in degrees, two numbers of which the first begins with a hyphen."""

ARGUMENTS: ContextVar[Sequence[str]] = ContextVar("ARGUMENTS", default=())
"""The command line that is running, without the program's name; for reports."""

_MASK_INSIDE = 0.5
"""A mask has a voxel of this value or more; maps that are not scaled to their noise stay far below."""

COMMON_GROUP = Group("Common options", sort_key=100)


@Parameter(name="*", group=COMMON_GROUP)
@dataclass(frozen=True)
class Common:
    """What every command takes.

    Parameters
    ----------
    device
        Where to compute: auto, cpu, cuda or cuda:N. auto is the first GPU, or the CPU without one.
    seed
        Start of all random numbers: the same seed gives the same result on one machine with the same
        number of threads.
    threads
        CPU threads to use.
    verbose
        Say on standard error what is used, and show tracebacks; without a terminal, as in the log
        of a queue, also write a line about progress now and then.
    """

    device: Annotated[str | None, Parameter(show_default="auto")] = None
    seed: Annotated[int | None, Parameter(show_default="0")] = None
    threads: Annotated[int | None, Parameter(show_default="all cores")] = None
    verbose: Annotated[bool, Parameter(name=("--verbose", "-v"), negative="", show_default=False)] = False

    # Not given is None and not the default itself: a config file may hold these too, and the command line goes first.

    @property
    def device_name(self) -> str:
        """The device that was asked for, or auto."""
        return "auto" if self.device is None else self.device

    @property
    def first_seed(self) -> int:
        """The seed that was asked for, or 0."""
        return 0 if self.seed is None else self.seed

    def start(self) -> torch.device:
        """Set the number of threads, check the device and return it."""
        import torch

        from gumnet.devices import resolve_device

        if self.threads is not None:
            if self.threads < 1:
                raise InputError(f"--threads {self.threads} is not possible", cure="give 1 or more")
            torch.set_num_threads(self.threads)
        if self.first_seed < 0:
            raise InputError(f"--seed {self.seed} is not possible", cure="give 0 or more")
        device = resolve_device(self.device_name)
        LOGGED.set(self.verbose)
        if self.verbose:
            sys.stderr.write(
                f"gumnet {versions()['gumnet']}, torch {torch.__version__}, device {device}, "
                f"{torch.get_num_threads()} threads, seed {self.first_seed}\n"
            )
        return device


@Parameter(name="*", group=COMMON_GROUP)
@dataclass(frozen=True)
class Output:
    """How to treat what is there already.

    Parameters
    ----------
    overwrite
        Replace an output that exists; without it, it is refused.
    """

    overwrite: Flag = False


@Parameter(name="*", group=COMMON_GROUP)
@dataclass(frozen=True)
class Reading:
    """How to read particles.

    Parameters
    ----------
    voxel_size
        Voxel size in Angstrom, where the files do not hold it or hold it wrong.
    skip_bad
        Leave out particles that cannot be read, and list them with the reason in a file beside the output.
    volumes
        For tables that name no images (Dynamo, STOPGAP, AV3): folder of the volumes, or a stack of
        them in the order of the table; the folder of the table unless given.
    wedge_list
        STOPGAP's wedge list, for tables without tilt ranges.
    tilt_range
        Lowest and highest tilt in degrees, for tables without; -90 90 if nothing is missing.
    allow_outside
        Read images though their names lead out of the project folder: the current one if the table is below it, else
        that of the table. For tables that you trust.
    """

    voxel_size: float | None = None
    skip_bad: Flag = False
    volumes: Path | None = None
    wedge_list: Path | None = None
    tilt_range: TiltRange = None
    allow_outside: Flag = False

    def all_particles(self, path: Path) -> Particles:
        """Return the particles of a table or folder, for commands that find those that cannot be read as they go."""
        from gumnet.io.read import read_particles

        particles = read_particles(
            path,
            voxel_size_angstrom=self.voxel_size,
            volumes=self.volumes,
            wedge_list=self.wedge_list,
            tilt_range=self.tilt_range,
            allow_outside=self.allow_outside,
        )
        if no_wedge_known(particles):
            # Not an error: some sets have none. But a wedge that is forgotten turns particles the wrong way.
            sys.stderr.write(
                f"{path}: no missing wedge is known, so all of Fourier space counts as observed; --tilt-range LOW HIGH "
                "says otherwise\n"
            )
        return particles

    def particles(self, path: Path, bad_list: Path, *, overwrite: bool, list_ends_in: Path | None = None) -> Particles:
        """Return the particles of a table or folder; with ``--skip-bad`` those that cannot be read go to a list.

        How many were left out is said on standard error, where it stays visible when the result is piped on.

        Parameters
        ----------
        path
            Particle table, or folder that ``gumnet simulate`` wrote.
        bad_list
            File that lists the particles left out.
        list_ends_in
            Folder that this file is moved to at the end, if it is written elsewhere first.
        """
        from gumnet.io.read import drop_unreadable

        particles = self.all_particles(path)
        if not self.skip_bad:
            return particles
        kept = drop_unreadable(particles, bad_list, overwrite=overwrite)
        if len(kept) < len(particles):
            listed = bad_list if list_ends_in is None else list_ends_in / bad_list.name
            say_left_out(len(particles) - len(kept), len(particles), listed)
        return kept


COMMON, OUTPUT, READING = Common(), Output(), Reading()
"""The defaults, for the signatures of commands."""


def no_wedge_known(particles: Particles) -> bool:
    """Return whether all of Fourier space counts as observed because nothing says otherwise, nor that it is so."""
    from gumnet.io.relion_pose_table import TILTS

    return particles.weights is None and (particles.table is None or TILTS[0] not in particles.table.columns)


def say_left_out(left_out: int, total: int, listed: Path) -> None:
    """Say on standard error how many particles cannot be read, and where they are listed."""
    sys.stderr.write(f"left out {left_out} of {total} particles that cannot be read; they are listed in {listed}\n")


def matching_map(path: Path, particles: Particles) -> Volume:
    """Return the map (N, N, N) in ``path``, of the box and, where its header says one, the voxel size of particles."""
    from gumnet.io.mrc import read_map

    volume, size = read_map(path, need_voxel_size=False)
    wanted = f"{particles.voxel_size_angstrom:g}"
    resample = f"relion_image_handler --i {path} --o new.mrc --rescale_angpix {wanted} --new_box {particles.box}"
    if volume.shape[-1] != particles.box:
        of_size = "" if math.isnan(size) else f" voxels of {size:g} Angstrom"
        raise InputError(
            f"its box is {volume.shape[-1]}{of_size}, that of the particles {particles.box} of {wanted}",
            cure=f"resample it, as by {resample}",
            path=path,
        )
    if math.isnan(size):
        sys.stderr.write(f"{path}: its header has no voxel size; that of the particles is taken, {wanted} Angstrom\n")
    # Headers round: 1 % over half of a box is less than a voxel in any box that is used here.
    elif abs(size / particles.voxel_size_angstrom - 1) > 0.01:
        raise InputError(
            f"its voxel size is {size:g} Angstrom, that of the particles {particles.voxel_size_angstrom:g}",
            cure=f"resample it, as by {resample}; or give the right voxel size of the particles with --voxel-size",
            path=path,
        )
    return volume


def read_mask(path: Path) -> Volume:
    """Return the mask (N, N, N) in ``path``, with values from 0 to 1, not all 0."""
    from gumnet.alignment.checks import check_mask_values
    from gumnet.io.mrc import read_map

    mask, _ = read_map(path, need_voxel_size=False)
    check_mask_values(mask, path)
    _check_mask_reaches_one(mask, path)
    return mask


def matching_mask(path: Path, particles: Particles) -> Volume:
    """Return the mask (N, N, N) in ``path``, of the box and voxel size of particles; see `matching_map`."""
    from gumnet.alignment.checks import check_mask_values

    mask = matching_map(path, particles)
    check_mask_values(mask, path)
    _check_mask_reaches_one(mask, path)
    return mask


def _check_mask_reaches_one(mask: Volume, path: Path) -> None:
    """Raise `InputError` for a map of small values, which those of a mask would allow: maps are given for masks."""
    highest = float(mask.max())
    if highest < _MASK_INSIDE:
        raise InputError(
            f"its highest value is {highest:.3g}, that of a mask 1",
            cure="give a mask, not a map, or scale it",
            path=path,
        )


def check_limits(
    particles: Particles, *, max_shift: float | None, low_pass: float | None, high_pass: float | None = None
) -> None:
    """Raise `InputError` for a shift in voxels or a resolution in Angstrom that the boxes of particles do not hold.

    The library says the same; here it is said before maps are read and outputs are prepared.
    """
    from gumnet.alignment.checks import check_max_shift, check_resolutions

    check_max_shift(max_shift, particles.box, "--max-shift")
    check_resolutions(
        low_pass,
        high_pass,
        box=particles.box,
        voxel_size_angstrom=particles.voxel_size_angstrom,
        names=("--low-pass", "--high-pass"),
    )


def check_model(method: str, model: Path | None) -> None:
    """Raise `InputError` where a model is given for a method that takes none."""
    if method not in ("gumnet", "matched") and model is not None:
        raise InputError(f"--method {method} uses no --model", cure="leave it out, or give --method gumnet or matched")


def settled(method: str, task: Task, *, quiet: bool) -> str:
    """Return the method by its own name: what auto is for a task, which is said with the reason unless ``quiet``."""
    from gumnet.alignment.auto import AUTO, chosen

    if method == AUTO and not quiet:
        say(task.words())
    return chosen(method, task)


def command_line() -> str:
    """Return the command that is running, as one would type it."""
    return shlex.join(["gumnet", *ARGUMENTS.get()])


def say(text: str) -> None:
    """Print a line of the result on standard output."""
    sys.stdout.write(f"{text}\n")


def say_table(rows: Sequence[tuple[str, str]]) -> None:
    """Print names and values below each other on standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows:
        # Text, not str: brackets in a file name are no markup.
        table.add_row(Text(name), Text(value, style="bold", overflow="fold"))
    Console().print(table)


def bad_list_beside(path: Path) -> Path:
    """Return where ``--skip-bad`` lists particles when the output is a file and not a folder."""
    return path.with_name(f"{path.stem}_bad_particles.txt")
