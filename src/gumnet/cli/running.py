"""Options of commands that run for long: where their batches run, and how they go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cyclopts import Group, Parameter

from gumnet.cli.options import Common, Flag

if TYPE_CHECKING:
    from gumnet.engine.place import Place

RUNNING_GROUP = Group("Running", sort_key=90)


@Parameter(name="*", group=RUNNING_GROUP)
@dataclass(frozen=True)
class Running:
    """Where batches run, and how a run goes on.

    Parameters
    ----------
    workers
        Processes of this machine to share the work; one a GPU where there are several, else one, unless given.
    cluster
        Dask cluster to share the work, in their place: local:N, the address of a scheduler, or a TOML file
        that says which jobs to send to a queue.
    resume
        Go on with a run that was killed or failed: what it finished is not done again.
    """

    workers: int | None = None
    cluster: str | None = None
    resume: Flag = False

    def place(self, common: Common) -> Place:
        """Return where to run."""
        from gumnet.engine.place import Place

        return Place(common.device_name, self.workers, self.cluster, common.threads)


RUNNING = Running()
"""The defaults, for the signatures of commands."""
