"""The program ``gumnet``: finds the command, runs it, and turns what goes wrong into one line and an exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from cyclopts import App, CycloptsError

from gumnet import __version__
from gumnet.cli import completion
from gumnet.cli.help import FlowingHelp
from gumnet.cli.options import ARGUMENTS
from gumnet.cli.wrong_call import call_in_words, options
from gumnet.errors import InputError, RunError

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130

COMMANDS = (
    "demo",
    "simulate",
    "extract",
    "pack",
    "train",
    "tune",
    "align",
    "average",
    "cluster",
    "fsc",
    "sharpen",
    "symmetry",
    "convert",
    "info",
    "benchmark",
)


def build() -> App:
    """Return the command line with all its commands; what they need beyond it is imported when they run."""
    app = App(
        name="gumnet",
        help="Align, average and classify subtomograms of cryo-electron tomography.",
        help_epilogue="New here? Run: gumnet demo --out demo-output",
        help_format="plaintext",
        help_formatter=FlowingHelp(),
        version=__version__,
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
    )
    for order, name in enumerate(COMMANDS):
        command = getattr(import_module(f"gumnet.cli.{name}"), name)
        if isinstance(command, App):  # with commands of its own
            command.group, command.help_epilogue = ("Commands",), ""
            command.sort_key = order
            app.command(command)
            continue
        app.command(command, name=name, sort_key=order, group="Commands", help_epilogue="")
    app.command(completion.install_completion, name=completion.NAME, sort_key=len(COMMANDS), help_epilogue="")
    return app


def complain(message: object) -> None:
    """Print one line about what is wrong to standard error."""
    sys.stderr.write(f"gumnet: error: {' '.join(str(message).split())}\n")


def _how_to_go_on(chain: tuple[str, ...], app: App, arguments: Mapping[str, object]) -> str:
    """Return how to go on with a command that was interrupted; nothing for one that begins anew."""
    of_pairs = chain == ("align",) and arguments.get("pairs") is not None  # these keep no journal
    if "--resume" not in options(app, chain) or of_pairs:
        return ""
    return "; the same line with --resume goes on with what was finished"


def _say_anything() -> None:
    """Have a terminal that knows no Å show something in its place: a run is not to end over what it says."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _reader_left() -> int:
    """End quietly: what read standard output, as head does, has had enough of it."""
    # What is still in the buffer goes nowhere, or the interpreter would complain about it as it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code: 0 done, 1 it failed, 2 the call or the input is wrong.

    Parameters
    ----------
    arguments
        The command line without the program's name; that of the process unless given.
    """
    _say_anything()
    # Torch's threads, not loaded yet, spin while they wait for each other, and keep a core from who has work for it
    # (docs/scale.md).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    ARGUMENTS.set(arguments)
    app = build()
    try:
        command, bound, _ = app.parse_args(arguments)
    except CycloptsError as error:
        complain(call_in_words(error, app))
        return WRONG_INPUT
    common = bound.arguments.get("common")
    verbose = common is not None and common.verbose
    try:
        command(*bound.args, **bound.kwargs)
        sys.stdout.flush()  # here, and not when the interpreter ends, which could only complain
    except InputError as error:
        complain(error)
        return WRONG_INPUT
    except RunError as error:
        if verbose:
            sys.stderr.write(error.trace)
        complain(error)
        return FAILED
    except BrokenPipeError:
        return _reader_left()
    except KeyboardInterrupt:
        complain(f"interrupted{_how_to_go_on(app.parse_commands(arguments)[0], app, bound.arguments)}")
        return INTERRUPTED
    except Exception as error:
        if verbose:
            import traceback

            traceback.print_exc()
        complain(f"{type(error).__name__}: {error}" + ("" if verbose else "; run again with -v for details"))
        return FAILED
    return DONE
