"""stdin and stdout without threads: lines come whole, and a slow host blocks nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_jobs.interfaces.mcp.stdio import _PipeReader, _PipeWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

BOUND_S = 10.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_fd, write_fd = os.pipe()
    yield read_fd, write_fd
    for fd in (read_fd, write_fd):
        try:
            os.close(fd)
        except OSError:
            continue


async def lines_of(read_fd: int) -> list[str]:
    return [line async for line in _PipeReader(read_fd)]


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(exclude_characters="\n"), max_size=50), max_size=8),
    cuts=st.lists(st.integers(1, 40), max_size=20),
    whole=st.booleans(),
)
def test_lines_come_whole_however_they_arrive(
    texts: list[str], cuts: list[int], whole: bool
) -> None:
    data = b"".join(text.encode("utf-8", "surrogatepass") + b"\n" for text in texts)
    data = data if whole or not data else data[:-1]
    expected = [line.decode("utf-8", "replace") for line in data.split(b"\n")]
    if not expected[-1]:
        expected.pop()

    async def run() -> list[str]:
        read_fd, write_fd = os.pipe()
        rest = data
        async with anyio.create_task_group() as tasks:
            got: list[str] = []

            async def read() -> None:
                got.extend(await lines_of(read_fd))

            tasks.start_soon(read)
            for cut in cuts:
                os.write(write_fd, rest[:cut])
                rest = rest[cut:]
                await anyio.lowlevel.checkpoint()
            os.write(write_fd, rest)
            os.close(write_fd)
        os.close(read_fd)
        return got

    assert anyio.run(run) == expected


async def test_bytes_that_are_no_text_do_not_end_the_stream(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    os.write(write_fd, b"\xff\xfe\n{}\n")
    os.close(write_fd)
    assert await lines_of(read_fd) == ["\ufffd\ufffd", "{}"]


async def test_a_host_that_does_not_read_holds_up_its_answer_and_nothing_else(
    pipe: tuple[int, int],
) -> None:
    read_fd, write_fd = pipe
    text = "x" * (1 << 20)
    got: list[bytes] = []
    with anyio.fail_after(BOUND_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_PipeWriter(write_fd).write, text)
            # The loop goes on while the pipe is full.
            for _ in range(100):
                await anyio.lowlevel.checkpoint()
            while sum(map(len, got)) < len(text):
                await anyio.wait_readable(read_fd)
                got.append(os.read(read_fd, 1 << 16))
    assert b"".join(got).decode() == text


async def test_a_host_that_is_gone_is_an_error_of_the_pipe(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    os.close(read_fd)
    with pytest.raises(BrokenPipeError):
        await _PipeWriter(write_fd).write("late")
