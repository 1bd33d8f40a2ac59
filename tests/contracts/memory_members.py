"""`Members` in memory: a board that all of them write on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mcp_jobs.domain.clock import Clock

LEASE_S = 15.0


@dataclass
class Board:
    """Who has joined, and when each was there last, in seconds of the clock."""

    clock: Clock
    renewed_s: dict[str, float] = field(default_factory=dict)


class MemoryMembers:
    """One member among those of a board."""

    def __init__(self, board: Board, own_id: str) -> None:
        self.own_id = own_id
        self._board = board

    def join(self) -> None:
        self._board.renewed_s[self.own_id] = self._board.clock.monotonic_s()

    def renew(self) -> None:
        if self.own_id in self._board.renewed_s:
            self.join()

    def is_gone(self, owner_id: str) -> bool:
        renewed_s = self._board.renewed_s.get(owner_id)
        return renewed_s is None or self._board.clock.monotonic_s() - renewed_s >= LEASE_S

    def leave(self) -> None:
        self._board.renewed_s.pop(self.own_id, None)
