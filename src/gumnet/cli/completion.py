"""``gumnet --install-completion``: the shell completes commands, options, their choices and file names."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from cyclopts import App

from gumnet.cli.options import Flag, say
from gumnet.errors import InputError
from gumnet.io.atomic import write_whole

Shell = Literal["bash", "zsh", "fish"]
NAME = "--install-completion"


def script(app: App, shell: Shell) -> str:
    """Return the completion script of a program for one shell."""
    made = app.generate_completion(shell=shell)
    if shell == "bash":
        # Folders go on after their slash, names with spaces are quoted, and where nothing fits files are offered.
        made = made.replace("complete -F ", "complete -o filenames -o default -F ")
    return made


def install_completion(*, shell: Shell | None = None, show: Flag = False) -> None:
    """Let the Tab key complete commands, options, their choices and file names.

    Example
        gumnet --install-completion
        gumnet --install-completion --shell zsh --show > _gumnet

    Writes a script into the folder where the shell keeps such scripts, and for bash
    and zsh one line into .bashrc or .zshrc that reads it, unless it is there. Do it
    again after an update. It holds in shells that start afterwards.

    Parameters
    ----------
    shell
        The one that is running unless given.
    show
        Print the script and write nothing.
    """
    from gumnet.cli.main import build

    chosen = _running_shell() if shell is None else shell
    text = script(build(), chosen)
    if show:
        say(text)
        return
    from cyclopts.completion.install import add_to_rc_file, get_default_completion_path

    path: Path = get_default_completion_path(chosen, "gumnet")
    with write_whole(path, overwrite=True) as part:
        part.write_text(text, encoding="utf-8")
    say(f"Wrote {path}")
    if chosen != "fish" and add_to_rc_file(path, "gumnet", chosen):
        say(f"Added a line that reads it to the start-up file of {chosen}")
    say(f"Start a new {chosen} to use it, for example with: exec {chosen}")


def _running_shell() -> Shell:
    from cyclopts.completion.detect import ShellDetectionError, detect_shell

    try:
        found = detect_shell()
    except ShellDetectionError:
        found = None
    if found is not None and found != "powershell":
        return found
    problem = "cannot tell which shell is running" if found is None else f"there is no completion for {found}"
    raise InputError(problem, cure=f"give --shell with one of {', '.join(get_args(Shell))}")
