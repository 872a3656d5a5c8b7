"""Orders: what a node is asked beside writing a frame. A plain push has none, and pays nothing for them.

In a batch an order stands before an item's target::

    ?flags ticket timeout_ms ttl_ms id key target

Flags: ``o``, copies of the push are delivered once; ``a``, ``r``, the client is asked for an ack, for a
reply; ``f``, the first device that answers is enough; ``x``, the frame takes the question back; ``d``,
``c``, for a slow client the frame waits, and the oldest or those of its key give way; ``s``, the push is
stored, and in place of the key stands where. After ``ttl_ms`` the frame is not to be written any more; 0:
however late it is. Id and key are percent-encoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from urllib.parse import quote, unquote

from sanic_ws.core.mail import Posted
from sanic_ws.core.requests import ASKING, MAX_TIMEOUT_S, MAX_TTL_S, Overflow, Wait
from sanic_ws.errors import MalformedBatch

MARK = "?"
_FLAGS = frozenset("oarfxdcs")
_PARTS = 7


@dataclass(slots=True)
class Order:
    """Say what a push asks of a node beside writing a frame.

    Attributes:
        push_id: the push's id, by which clients answer.
        once: whether copies of it are delivered once.
        wait: ``ack`` or ``reply`` if the client is to answer.
        first: whether one device's answer is enough.
        timeout_ms: how long an answer is of use.
        ticket: the sender's number for the push; 0 if no answer is waited for.
        cancels: whether the frame tells that no answer is wanted any more.
        overflow: what gives way if the client is slow.
        key: of ``coalesce``: what only the newest of waits.
        expires: when the frame is not to be written any more, monotonic seconds of whoever holds the order.
        keep_s: for how long the push is kept for those who are away, if it is to be stored.
        posted: where it is stored.
    """

    push_id: str
    once: bool = False
    wait: Wait = "written"
    first: bool = False
    timeout_ms: int = 0
    ticket: int = 0
    cancels: bool = False
    overflow: Overflow = "drop"
    key: str | None = None
    expires: float = inf
    keep_s: float | None = None
    posted: Posted | None = None

    @property
    def may_wait(self) -> bool:
        """Whether the frame waits if the client is slow."""
        return self.overflow != "drop" or self.posted is not None

    @property
    def asks(self) -> bool:
        """Whether the client is to answer."""
        return self.wait in ASKING


def order_target(order: Order, target: str, now: float = 0.0) -> str:
    """Put an order before a target; with the time, if the order expires."""
    marks = {"o": order.once, "a": order.wait == "ack", "r": order.wait == "reply"}
    marks |= {"f": order.first, "x": order.cancels}
    marks |= {"d": order.overflow == "drop_oldest", "c": order.overflow == "coalesce"}
    marks |= {"s": order.posted is not None}
    flags = "".join(flag for flag, is_set in marks.items() if is_set)
    ttl_ms = 0 if order.expires == inf else max(1, int((order.expires - now) * 1000))
    key = quote(order.key or "", safe="") if order.posted is None else order.posted
    texts = f"{quote(order.push_id, safe='')} {key}"
    return f"{MARK}{flags} {order.ticket} {order.timeout_ms} {ttl_ms} {texts} {target}"


def read_order_target(target: str, sent_at: float = 0.0) -> tuple[Order, str]:
    """Read what `order_target` wrote at some time, given in monotonic seconds of this process.

    Raises:
        MalformedBatch: it is not one.
    """
    parts = target[1:].split(" ", _PARTS - 1)
    if len(parts) != _PARTS or not parts[-1] or parts[-1][0] == MARK:
        raise MalformedBatch("an order has seven parts, the last one a target")
    flags, ticket, timeout_ms, ttl_ms, push_id, key, rest = parts
    if not (_FLAGS.issuperset(flags) and all(map(_is_number, (ticket, timeout_ms, ttl_ms)))):
        raise MalformedBatch("an order's flags or numbers are none")
    wait: Wait = "reply" if "r" in flags else "ack" if "a" in flags else "written"
    overflow: Overflow = "coalesce" if "c" in flags else "drop_oldest" if "d" in flags else "drop"
    posted = _read_posted(key) if "s" in flags else None
    if (overflow == "coalesce" or posted is not None) != bool(key):
        raise MalformedBatch("an order coalesces by a key")
    most_ms, ttl_s = int(MAX_TIMEOUT_S * 1000), min(int(ttl_ms) / 1000, MAX_TTL_S)
    order = Order(
        unquote(push_id),
        "o" in flags,
        wait,
        "f" in flags,
        min(int(timeout_ms), most_ms),
        int(ticket),
        "x" in flags,
        overflow,
        None if posted else unquote(key) or None,
        sent_at + ttl_s if ttl_s else inf,
        posted=posted,
    )
    return order, rest


def _read_posted(text: str) -> Posted:
    try:
        return Posted.parse(text)
    except ValueError as exc:
        raise MalformedBatch(f"not where a push is stored: {exc}") from None


def bare_target(target: str) -> str:
    """Return a target without the order before it."""
    return target.split(" ", _PARTS - 1)[-1] if target[:1] == MARK else target


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 20  # noqa: PLR2004 - of 64 bits
