"""Orders: what a node is asked beside writing a frame. A plain push has none, and pays nothing for them.

In a batch an order stands before an item's target::

    ?flags ticket timeout_ms id target

Flags: ``o``, copies of the push are delivered once; ``a``, ``r``, the client is asked for an ack, for a
reply; ``f``, the first device that answers is enough; ``x``, the frame takes the question back. The id is
percent-encoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote

from sanic_ws.core.requests import ASKING, MAX_TIMEOUT_S, Wait
from sanic_ws.errors import MalformedBatch

MARK = "?"
_FLAGS = frozenset("oarfx")
_PARTS = 5


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
    """

    push_id: str
    once: bool = False
    wait: Wait = "written"
    first: bool = False
    timeout_ms: int = 0
    ticket: int = 0
    cancels: bool = False

    @property
    def asks(self) -> bool:
        """Whether the client is to answer."""
        return self.wait in ASKING


def order_target(order: Order, target: str) -> str:
    """Put an order before a target."""
    marks = {"o": order.once, "a": order.wait == "ack", "r": order.wait == "reply"}
    marks |= {"f": order.first, "x": order.cancels}
    flags = "".join(flag for flag, is_set in marks.items() if is_set)
    return f"{MARK}{flags} {order.ticket} {order.timeout_ms} {quote(order.push_id, safe='')} {target}"


def read_order_target(target: str) -> tuple[Order, str]:
    """Read what `order_target` wrote.

    Raises:
        MalformedBatch: it is not one.
    """
    parts = target[1:].split(" ", _PARTS - 1)
    if len(parts) != _PARTS or not parts[4] or parts[4][0] == MARK:
        raise MalformedBatch("an order has five parts, the last one a target")
    flags, ticket, timeout_ms, push_id, rest = parts
    if not (_FLAGS.issuperset(flags) and _is_number(ticket) and _is_number(timeout_ms)):
        raise MalformedBatch("an order's flags or numbers are none")
    wait: Wait = "reply" if "r" in flags else "ack" if "a" in flags else "written"
    most_ms = int(MAX_TIMEOUT_S * 1000)
    order = Order(
        unquote(push_id),
        "o" in flags,
        wait,
        "f" in flags,
        min(int(timeout_ms), most_ms),
        int(ticket),
        "x" in flags,
    )
    return order, rest


def bare_target(target: str) -> str:
    """Return a target without the order before it."""
    return target.split(" ", _PARTS - 1)[-1] if target[:1] == MARK else target


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 20  # noqa: PLR2004 - of 64 bits
