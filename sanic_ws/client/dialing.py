"""The TCP connection below a WebSocket, held so that it can be ended before picows hands it out."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from picows import WSParsedURL


class Dial:
    """Connect once, for `picows.ws_connect(socket_factory=…)`.

    Where that is cancelled during the handshake, it leaves its connection open: the node would take in a
    client that is not there any more, and close a newer connection of the same id for it.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    async def __call__(self, url: WSParsedURL) -> socket.socket:
        """Return a socket that is connected to the first address that answers.

        Raises:
            OSError: none does; what the last one said.
        """
        loop = asyncio.get_running_loop()
        error: OSError | None = None
        for family, kind, protocol, _, address in await loop.getaddrinfo(
            url.host, url.port, type=socket.SOCK_STREAM
        ):
            try:
                self._socket = await _connected(socket.socket(family, kind, protocol), address)
            except OSError as exc:
                error = exc
            else:
                return self._socket
        raise error or OSError(f"{url.host} has no address")

    def hang_up(self) -> None:
        """End the connection; whoever reads it, and owns the socket, sees its end."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


async def _connected(made: socket.socket, address: object) -> socket.socket:
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, address)  # type: ignore[arg-type]
    except BaseException:
        made.close()
        raise
    return made
