"""The exceptions of sanic_ws.

::

    SanicWsError
    ├── InvalidField            what was given breaks the contract; names the field
    │   ├── NotAllowed          the publisher's key does not reach so far
    │   └── TooLarge            more than the gateway takes
    ├── InvalidJSON             the text is not strict JSON (RFC 8259)
    ├── InvalidToken            a client's token does not prove who it is
    ├── KeysUnavailable         the keys that tokens are checked with could not be fetched
    ├── IdentityTaken           the connection's id is bound to another user
    ├── MalformedBatch          a message between nodes cannot be read
    ├── RegistryUnavailable     Redis does not answer in time
    │   └── RegistryAway        it was not even asked: it cannot be reached
    ├── MailboxUnavailable      Redis does not answer in time, and a letter may be stored or not
    │   └── MailboxAway         it was not even asked: certainly not stored
    ├── BrokerError
    │   ├── BrokerUnavailable   RabbitMQ cannot be reached; certainly not sent
    │   ├── Unroutable          the node's queue is gone; certainly not sent
    │   ├── QueueFull           the node's queue refuses more; certainly not sent
    │   └── BrokerLost          the connection broke before the confirm; may have been sent
    └── ClientError
        ├── ClientAway          a client has no connection now, or it ended before the answer
        ├── ClientClosed        a client does not come back by itself; holds the code
        ├── ClientOverloaded    too much waits for the connection already; not sent
        └── ClientRefused       the node has answered with an error; holds its code
"""

from __future__ import annotations

__all__ = [
    "BrokerError",
    "BrokerLost",
    "BrokerUnavailable",
    "ClientAway",
    "ClientClosed",
    "ClientError",
    "ClientOverloaded",
    "ClientRefused",
    "IdentityTaken",
    "InvalidField",
    "InvalidJSON",
    "InvalidToken",
    "KeysUnavailable",
    "MailboxAway",
    "MailboxUnavailable",
    "MalformedBatch",
    "NotAllowed",
    "QueueFull",
    "RegistryAway",
    "RegistryUnavailable",
    "SanicWsError",
    "TooLarge",
    "Unroutable",
]


class SanicWsError(Exception):
    """Base of every exception that sanic_ws raises."""


class InvalidField(SanicWsError):  # noqa: N818 - reads better where it is raised
    """Report a value that breaks the contract.

    Args:
        field: dotted path of the value, such as ``to.user.userId``.
        reason: what is wrong with it, for people.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason


class NotAllowed(InvalidField):
    """Report a target that the publisher's key does not reach."""


class TooLarge(InvalidField):
    """Report more than the gateway takes."""


class InvalidJSON(SanicWsError):  # noqa: N818
    """Report text that is not strict JSON (RFC 8259)."""


class InvalidToken(SanicWsError):  # noqa: N818
    """Report a client's token that does not prove who the client is; never holds a part of it."""


class KeysUnavailable(SanicWsError):  # noqa: N818
    """Report that the keys that tokens are checked with could not be fetched so far."""


class IdentityTaken(SanicWsError):  # noqa: N818
    """Report that the id of a connection is bound to another user."""


class MalformedBatch(SanicWsError):  # noqa: N818
    """Report a message between nodes that cannot be read."""


class RegistryUnavailable(SanicWsError):  # noqa: N818
    """Report that the registry did not answer in time."""


class RegistryAway(RegistryUnavailable):
    """Report that the registry was not asked, as it cannot be reached."""


class MailboxUnavailable(SanicWsError):  # noqa: N818
    """Report that the mailbox did not answer in time; what was to be stored may be, or not."""


class MailboxAway(MailboxUnavailable):
    """Report that the mailbox was not asked, as it cannot be reached, or refused: certainly not stored."""


class BrokerError(SanicWsError):
    """Base of what can go wrong while a batch is handed to the broker."""


class BrokerUnavailable(BrokerError):  # noqa: N818
    """Report that the broker cannot be reached; the batch was certainly not sent."""


class Unroutable(BrokerError):  # noqa: N818
    """Report that the node's queue is gone; the batch was certainly not sent."""


class QueueFull(BrokerError):  # noqa: N818
    """Report that the node's queue refuses more; the batch was certainly not sent."""


class BrokerLost(BrokerError):  # noqa: N818
    """Report that the connection broke before the confirm; the batch may have been sent."""


class ClientError(SanicWsError):
    """Base of what can go wrong with a client of the gateway."""


class ClientAway(ClientError):  # noqa: N818
    """Report that a client has no connection now, or that it ended before an answer came."""


class ClientClosed(ClientError):  # noqa: N818
    """Report that a client is closed, and does not come back by itself.

    Args:
        code: the WebSocket's close code, or the HTTP status with which the node refused it.
        reason: why, for people.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason} ({code})" if reason else str(code))
        self.code = code
        self.reason = reason


class ClientOverloaded(ClientError):  # noqa: N818
    """Report that too many messages wait for a client's connection; this one was not sent."""


class ClientRefused(ClientError):  # noqa: N818
    """Report an error that the node has answered with.

    Args:
        code: snake_case, for programs.
        reason: what is wrong, for people.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
