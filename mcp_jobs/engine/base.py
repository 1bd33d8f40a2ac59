"""How jobs come to the supervisor: what every queue offers to the process that works on it."""

from __future__ import annotations

from typing import Protocol


class Backend(Protocol):
    """Brings due jobs to the supervisor: the queue, as one process that works on it has it.

    The store says what is true of a job, and a backend only when to look. By which way it hears
    that a job is due (events of this process, a look now and then, a message that was sent in the
    transaction that made it due) is its own affair; what it hears may be late, double or untrue.

    - A job that is due, of this place or of any if it is shared, comes to one of the backends that
      run. A guarded claim in the store decides which, and its claim token goes with the job from
      then on. No claim: nothing is started, and nobody is told.
    - Over all processes of the store never more than the capacity run. A job whose end, retry or
      question frees a slot, or which is made due meanwhile, is heard of without a pause.
    - A job that must still wait, for whatever reason, holds up none behind it.
    - A store out of order, or a fault in the middle, delays jobs and loses none. A backend that
      may have claimed a job without learning of it says so with `Supervision.doubt`.
    - Jobs whose owner has died are not its concern: `Recovery` takes them over.
    """

    async def run(self) -> None:
        """Work until cancelled. Jobs that run then go on without this process."""
        ...

    def wake(self) -> None:
        """Look for due jobs now: there may be some of which no event told."""
        ...

    async def drained(self) -> None:
        """Return when no job of this place waits or runs, here or in other processes.

        Those that only go on with somebody's leave are not waited for.
        """
        ...
