"""What is wrong with a call, in words, for those who know the options of other programs."""

from __future__ import annotations

from cyclopts import App, CycloptsError, MissingArgumentError, UnknownOptionError

SAME_AS = {
    "-i": ("the particle table goes first, without a name",),
    "--i": ("the particle table goes first, without a name",),
    "-o": ("--out",),
    "--o": ("--out",),
    "--angpix": ("--voxel-size",),
    "--K": ("--classes", "--k"),
    "--ref": ("--reference", "--initial"),
    "-r": ("--reference", "--initial"),
    "--sym": ("--symmetry",),
    "--iter": ("--iterations",),
    "--ini_high": ("--low-pass",),
    "--solvent_mask": ("--mask",),
    "--adhoc_bfac": ("--b-factor",),
    "--auto_bfac": ("--guinier",),
    "--gpu": ("--device",),
    "--j": ("--threads",),
}
"""Options of RELION and what they are here: options, of which the first that a command has is named, or words."""


def call_in_words(error: CycloptsError, app: App) -> str:
    """Return what is wrong with a call, and where to read on.

    What was left out is called as the first line of the help calls it. An option that a command does not know goes
    first: who writes ``-o`` is not helped by being told that ``--out`` is missing.
    """
    chain = tuple(error.command_chain or ())
    known = options(app, chain)
    unknown = [token for token in error.unused_tokens or () if _is_option(token, known)]
    if isinstance(error, UnknownOptionError):
        name = error.token.keyword or error.token.value
        hint = _hint(name, known)
        text = f"Unknown option: {name}. {hint}" if hint else str(error)
    elif isinstance(error, MissingArgumentError) and unknown:
        hint = _hint(unknown[0], known)
        text = f"Unknown option: {unknown[0]}. {hint}" if hint else f"Unknown option: {unknown[0]}."
    elif isinstance(error, MissingArgumentError) and error.argument is not None and error.keyword is None:
        name = error.argument.names[0]
        text = f"{name if error.argument.index is None else name.removeprefix('--').upper()} is missing."
    else:
        text = str(error)
    return f"{text} See: {' '.join(['gumnet', *chain])} --help"


def options(app: App, chain: tuple[str, ...]) -> set[str]:
    """Return the names of all options of a command; of none for a program without one."""
    for name in chain:
        app = app[name]
    if app.default_command is None:
        return set()
    return {name for argument in app.assemble_argument_collection() for name in argument.names}


def _is_option(token: str, known: set[str]) -> bool:
    """Return whether a token is meant as an option, and not as a number below 0, that a command does not know."""
    name = token.partition("=")[0]
    return len(name) > 1 and name[0] == "-" and not name[1].isdigit() and name[1] != "." and name not in known


def _hint(name: str, known: set[str]) -> str:
    for same in SAME_AS.get(name, ()):
        if " " in same:
            return f"Here {same}."
        if same in known:
            return f"Here it is {same}."
    return ""
