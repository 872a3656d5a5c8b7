"""Places: how many connections a node takes, in all and from one address."""

from __future__ import annotations

from collections import Counter


class Places:
    """Count a node's connections.

    Past a limit a connection may still take the place of one that it is about to replace; until it has, there
    is one more than the limit, but never two for the same id.

    Args:
        most: in all.
        most_of_an_address: from one address; 0: any number.
    """

    def __init__(self, most: int, most_of_an_address: int) -> None:
        self._most = most
        self._most_of_an_address = most_of_an_address
        self._total = 0
        self._of_address: Counter[str] = Counter()
        self._heirs: set[str] = set()

    def __len__(self) -> int:
        return self._total

    def full(self, conn: str, replaced: str | None) -> bool:
        """Say whether there is no place for a connection, wherever it comes from.

        Args:
            conn: its id.
            replaced: from where the connection here comes that has this id; None: there is none.
        """
        return self._total >= self._most and (replaced is None or conn in self._heirs)

    def crowded(self, conn: str, address: str, replaced: str | None) -> bool:
        """Say whether there is no place for a connection because of others from its address."""
        return self._is_crowded(address) and (replaced != address or conn in self._heirs)

    def take(self, conn: str, address: str) -> None:
        """Take a place, which has to be there."""
        if self._total >= self._most or self._is_crowded(address):
            self._heirs.add(conn)
        self._total += 1
        self._of_address[address] += 1

    def free(self, conn: str, address: str) -> None:
        """Give a place back."""
        self._heirs.discard(conn)
        self._total -= 1
        self._of_address[address] -= 1
        if not self._of_address[address]:
            del self._of_address[address]

    def _is_crowded(self, address: str) -> bool:
        return 0 < self._most_of_an_address <= self._of_address[address]
