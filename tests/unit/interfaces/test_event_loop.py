"""The event loop is woken by other threads, and closes for good."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.interfaces import event_loop
from tests.support import BOUND_S

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def loop() -> Iterator[event_loop.PipedLoop]:
    with closing(event_loop.PipedLoop()) as loop:
        # As where the `send` on asyncio's own socket is refused: it says nothing.
        loop._write_to_self = lambda: None  # type: ignore[attr-defined]
        yield loop


def test_a_thread_wakes_a_loop_whose_socket_does_not(loop: event_loop.PipedLoop) -> None:
    woken = loop.create_future()

    def wake() -> None:
        loop.call_soon_threadsafe(woken.set_result, True)

    # From within the loop, which has nothing else to wake for before the time is over.
    loop.call_soon(threading.Timer(0.05, wake).start)
    over: list[bool] = []
    bound = loop.call_later(BOUND_S, over.append, True)
    assert loop.run_until_complete(woken)
    bound.cancel()
    assert not over


def test_thousands_of_calls_before_the_loop_looks_are_all_made(loop: event_loop.PipedLoop) -> None:
    seen: list[int] = []
    for number in range(70_000):
        loop.call_soon_threadsafe(seen.append, number)
    loop.call_soon_threadsafe(loop.stop)
    loop.run_forever()
    assert len(seen) == 70_000


def test_a_closed_loop_refuses_calls_and_can_be_closed_again() -> None:
    loop = event_loop.PipedLoop()
    loop.close()
    loop.close()
    with pytest.raises(RuntimeError):
        loop.call_soon_threadsafe(print)


def test_what_the_function_returns_is_returned() -> None:
    async def add(one: int, other: int) -> int:
        return one + other

    assert event_loop.run(add, 1, 2) == 3


async def _loop_type() -> type[asyncio.AbstractEventLoop]:
    return type(asyncio.get_running_loop())


def test_a_loop_is_not_woken_twice_where_sockets_work() -> None:
    assert event_loop.run(_loop_type) is asyncio.SelectorEventLoop


@pytest.mark.parametrize("refused", ["pair", "send"])
def test_a_pipe_wakes_the_loop_where_sockets_are_refused(
    monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    class Refusing(socket.socket):
        def send(self, *_: object) -> int:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    def pair() -> tuple[socket.socket, socket.socket]:
        if refused == "pair":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        reader, writer = socket.socketpair()
        return reader, Refusing(fileno=writer.detach())

    monkeypatch.setattr(event_loop, "socket", SimpleNamespace(socketpair=pair))

    assert event_loop.run(_loop_type) is event_loop.PipedLoop
