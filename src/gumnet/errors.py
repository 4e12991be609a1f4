"""The errors that gumnet raises on purpose."""

from __future__ import annotations

from pathlib import Path


class InputError(ValueError):
    """The input or the call is wrong, and the user can mend it.

    The message is one line: what is wrong, where, and what to do. The command line prints it without a traceback and
    exits with 2.

    Parameters
    ----------
    problem
        What is wrong, naming the field where there is one.
    cure
        What the user can do about it, as an imperative.
    path
        The file that holds the problem, where there is one.
    """

    def __init__(self, problem: str, *, cure: str = "", path: str | Path | None = None) -> None:
        self.problem = problem
        self.cure = cure
        self.path = path
        message = f"{path}: {problem}" if path is not None else problem
        message = f"{message}; {cure}" if cure else message
        super().__init__(" ".join(message.split()))

    def without_cure(self) -> str:
        """Return what is wrong and where, in one line: for lists of what was left out, where the cure was followed."""
        return str(InputError(self.problem, path=self.path))


class RunError(RuntimeError):
    """The call was right, but not all of it could be done; the message is one line, and the exit code 1.

    Parameters
    ----------
    message
        What failed.
    trace
        The traceback of what made it fail, perhaps in another process, for ``--verbose``.
    """

    def __init__(self, message: str, *, trace: str = "") -> None:
        self.trace = trace
        super().__init__(" ".join(message.split()))
