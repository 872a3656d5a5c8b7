"""Where a client connects to."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from sanic_ws.errors import InvalidField

_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


class Address:
    """Hold the address of a gateway's WebSocket side.

    Args:
        url: of a node or a load balancer; ``/ws`` is added where it is missing.

    Raises:
        InvalidField: it is no such address.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url.strip())
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise InvalidField("url", "is not an address") from None
        if parts.scheme not in _SCHEMES or not host:
            raise InvalidField("url", "must begin with ws://, wss://, http:// or https://")
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise InvalidField("url", "must hold neither a query nor a user; there are arguments for these")
        path = parts.path.rstrip("/")
        if not path.endswith("/ws"):
            path += "/ws"
        self._base = f"{_SCHEMES[parts.scheme]}://{parts.netloc}{path}"

    def __str__(self) -> str:
        return self._base

    def query(self, sign: str, since: str | None) -> str:
        """Return the address to connect to under an id, with the id after which to go on, if any."""
        given = {"sign": sign} if since is None else {"sign": sign, "since": since}
        return f"{self._base}?{urlencode(given)}"
