"""A program that stands in for a prepared server: `python -I -S stand_in.py SOCKET ARGUMENT...`.

For clients that start their server themselves. The server gets these streams, and this process ends
as the server does; when this one is killed, so is the server.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys

NUMBER = struct.Struct("!q")


def main(address: str, arguments: list[str]) -> None:
    """Have a server forked, and wait for its end."""
    link = socket.socket(socket.AF_UNIX)
    link.connect(address)
    umask = os.umask(0)
    request = {"arguments": arguments, "cwd": os.getcwd(), "env": {**os.environ}, "umask": umask}
    socket.send_fds(link, [json.dumps({**request, "code": None}).encode()], [0, 1, 2])
    # The end of the client's input, and that of the server's output, are between those two.
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    link.recv(NUMBER.size, socket.MSG_WAITALL)
    (code,) = NUMBER.unpack(link.recv(NUMBER.size, socket.MSG_WAITALL))
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
