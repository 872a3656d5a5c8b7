"""Whether a registry is whole, or nodes still tell anew what it has lost."""

from __future__ import annotations

WHOLE = b"whole"
"""What the registry says of itself when it is; anything else is the last loss, nothing is an empty one."""


class Mending:
    """Know for how long the same loss has kept a registry from being whole."""

    def __init__(self) -> None:
        self._loss: bytes | None = WHOLE
        self._since = 0.0

    def has_passed(self, state: bytes | None, lease_s: float, now: float) -> bool:
        """Say whether a lease has passed since the last loss, after which every node has noticed it."""
        if state != self._loss:
            self._loss, self._since = state, now
        return state != WHOLE and now - self._since >= lease_s
