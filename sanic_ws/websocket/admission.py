"""Admission: who may be registered as what, and for how long."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, cast

from sanic_ws.core.closing import CloseCode
from sanic_ws.core.groups import Groups
from sanic_ws.core.messages import BadMessage, error_frame, message_frame
from sanic_ws.errors import IdentityTaken, InvalidToken, KeysUnavailable
from sanic_ws.websocket.handshake import Refused

if TYPE_CHECKING:
    from sanic_ws.core.identity import User
    from sanic_ws.core.messages import ClientMessage, ErrorCode
    from sanic_ws.core.tokens import Identity
    from sanic_ws.node import Node
    from sanic_ws.websocket.authentication import Authentication
    from sanic_ws.websocket.connection import Connection
    from sanic_ws.websocket.keepalive import KeepAlive
    from sanic_ws.websocket.quotas import Quotas

MAX_JOINING = 10_000
"""Handshakes under way; a node answers some 3,000 a second."""
RETRY_MS = 1000


class Admission:
    """Register connections, those that say who they are at the handshake and those that say so later.

    Args:
        node: what they are connected to.
        keep_alive: closes those whose time is over.
        authentication: says who they are.
        quotas: how many a user may have.
    """

    def __init__(
        self, node: Node, keep_alive: KeepAlive, authentication: Authentication, quotas: Quotas
    ) -> None:
        self._node = node
        self._quotas = quotas
        self._keep_alive = keep_alive
        self._authentication = authentication
        self._proven: dict[Connection, Identity] = {}
        self._entering: set[Connection] = set()
        self._joining = 0

    def has_proven(self, connection: Connection) -> bool:
        """Say whether a client has proven who it is, so that its own word does not count any more."""
        return connection in self._proven

    def forget(self, connection: Connection) -> None:
        """Forget a connection."""
        self._proven.pop(connection, None)

    def check_open(self) -> None:
        """Check that this node takes clients in.

        Raises:
            Refused: it is leaving (503).
        """
        if self._node.draining:
            raise Refused(503, "draining", "this node is leaving; connect to another")

    async def register(self, connection: Connection, identity: Identity | None) -> None:
        """Register a connection; with too many under way refuse, so that those who came first are served.

        Raises:
            Refused: try again in a moment, or elsewhere (503); a newer connection took the id (409); the id
                is bound to another user (403); or the user has too many connections (4429).
        """
        self.check_open()
        if self._joining >= MAX_JOINING:
            raise Refused(503, "busy", "too many clients connect at this moment", retry_after_s=1)
        if identity is not None:
            self._quotas.check_user(connection, identity.user)
            connection.user = identity.user
            connection.groups = Groups(granted=frozenset(identity.groups))
        self._joining += 1
        try:
            await self._node.membership.join(connection)
        except IdentityTaken as exc:
            raise Refused(403, "identity_taken", str(exc)) from None
        finally:
            self._joining -= 1
        if connection.left:
            self.check_open()
            raise Refused(409, "replaced", "a newer connection has this id")
        if identity is not None:
            self._prove(connection, identity)
        elif connection.user is not None:
            # The id was bound already.
            self._quotas.check_user(connection, connection.user)

    async def bind(self, connection: Connection, user: User, message: ClientMessage) -> None:
        """Bind a connection to a user and tell its client; close it if the user has too many."""
        try:
            self._quotas.check_user(connection, user)
        except Refused as exc:
            self._turn_away(connection, exc, message)
            return
        await self._node.membership.bind(connection, user)
        connection.write(message_frame("user_bound", {"user": user.to_json()}, message.id))
        self._node.mail.bound(connection)

    # The message `auth`

    async def authenticate(self, connection: Connection, message: ClientMessage) -> None:
        """Let a client prove who it is: to come in, or to stay for longer.

        Raises:
            BadMessage: it does not, and nothing changes.
        """
        token = self._read(message)
        if connection.opened:
            identity = await self._identity(token, message)
            if not connection.left:
                await self._renew(connection, identity, message)
        elif connection in self._entering:
            raise BadMessage("not_authenticated", "another auth is under way", message.id)
        else:
            self._entering.add(connection)
            try:
                await self._enter(connection, token, message)
            finally:
                self._entering.discard(connection)

    def _read(self, message: ClientMessage) -> str:
        if not self._authentication.takes_tokens:
            raise BadMessage("unhandled_type", "no tokens are taken here", message.id)
        token = message.data.get("token") if isinstance(message.data, dict) else None
        if not isinstance(token, str):
            raise BadMessage("invalid_message", "data.token: must be a string", message.id)
        return token

    async def _identity(self, token: str, message: ClientMessage) -> Identity:
        try:
            return await self._authentication.of_token(token)
        except InvalidToken as exc:
            raise BadMessage("invalid_token", str(exc), message.id) from None
        except KeysUnavailable as exc:
            raise BadMessage("unavailable", str(exc), message.id) from None

    async def _enter(self, connection: Connection, token: str, message: ClientMessage) -> None:
        """Register a connection that was only told that it is connected, and open it for pushes."""
        try:
            identity = await self._identity(token, message)
            if connection.left:
                return
            await self.register(connection, identity)
        except BadMessage as exc:
            if exc.code != "invalid_token":
                raise
            connection.write(error_frame(exc))
            connection.close(CloseCode.UNAUTHENTICATED, str(exc))
        except Refused as exc:
            self._turn_away(connection, exc, message)
        else:
            connection.opened = True
            self._tell(connection, message)
            self._node.mail.opened(connection)

    async def _renew(self, connection: Connection, identity: Identity, message: ClientMessage) -> None:
        """Let a connection stay for longer; one that nobody vouched for so far becomes the token's user's."""
        known = self._proven.get(connection)
        if known is not None and known.user.key != identity.user.key:
            raise BadMessage("identity_mismatch", "the token is another user's", message.id)
        self._prove(connection, identity)
        groups = frozenset(self._proven[connection].groups)
        if groups != connection.groups.granted:
            await self._node.membership.grant(connection, groups)
        if connection.user != identity.user:
            await self.bind(connection, identity.user, message)
        else:
            self._tell(connection, message)

    def _prove(self, connection: Connection, identity: Identity) -> None:
        """Note the proof that is good for longest."""
        known = self._proven.get(connection)
        if known is None or _end(known) <= _end(identity):
            self._proven[connection] = identity
            self._keep_alive.proven(connection, identity.expires_at)

    def _turn_away(self, connection: Connection, refused: Refused, message: ClientMessage) -> None:
        # A registration is refused with codes that messages have too.
        code = cast("ErrorCode", refused.code)
        connection.write(error_frame(BadMessage(code, str(refused), message.id)))
        connection.close(*_CLOSE.get(refused.code, (CloseCode.RESTART, f"retry_after_ms={RETRY_MS}")))

    def _tell(self, connection: Connection, message: ClientMessage) -> None:
        user = None if connection.user is None else connection.user.to_json()
        connection.write(message_frame("user_bound", {"user": user}, message.id))


_CLOSE = {
    "identity_taken": (CloseCode.POLICY, "this id is bound to another user"),
    "replaced": (CloseCode.REPLACED, ""),
    "too_many_connections": (CloseCode.TOO_MANY, "too many connections of this user"),
}


def _end(identity: Identity) -> float:
    return inf if identity.expires_at is None else identity.expires_at
