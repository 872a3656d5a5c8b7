"""HAProxy in front of nodes, with the settings that README gives."""

import csv
import http.client
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.request import urlopen

from tests.servers import LOOPBACK, Server, find_program, free_port

SETTINGS = Path(__file__).with_suffix(".cfg")
STATISTICS = """
frontend statistics
  bind {address}
  stats enable
  stats uri /
"""


class HAProxy(Server):
    """An HAProxy of the test's own, ready once it has checked all nodes.

    Args:
        ports: where nodes are, or will be: who is there HAProxy finds out by its health checks.
    """

    name = "haproxy"

    def __init__(self, ports: Sequence[int]) -> None:
        super().__init__()
        self.ws_url = f"ws://{LOOPBACK}:{self.port}/ws"
        self._ports = ports
        self._statistics = f"{LOOPBACK}:{free_port()}"

    def spawn(self) -> None:
        """Write the settings, with the test's addresses in place of README's, and start."""
        text, bound = re.subn(
            r"bind :80$", f"bind {LOOPBACK}:{self.port}", SETTINGS.read_text(), flags=re.MULTILINE
        )
        servers = "".join(f"  server node{port} {LOOPBACK}:{port}\n" for port in self._ports)
        text, named = re.subn(r"^  server .*\n", servers, text, flags=re.MULTILINE)
        assert bound == named == 1
        (self.folder / "haproxy.cfg").write_text(text + STATISTICS.format(address=self._statistics))
        super().spawn()

    def servers(self) -> list[Mapping[str, str]]:
        """Return what HAProxy knows of each node (the management guide's section 9.1)."""
        return [row for row in self._rows() if row["# pxname"] == "nodes" and row["svname"] != "BACKEND"]

    def clients(self) -> Mapping[str, str]:
        """Return what it did for clients."""
        (row,) = [row for row in self._rows() if row["# pxname"] == "clients"]
        return row

    def _rows(self) -> list[dict[str, str]]:
        with urlopen(f"http://{self._statistics}/;csv", timeout=5) as answer:
            return list(csv.DictReader(answer.read().decode().splitlines()))

    def _command(self) -> Sequence[str]:
        return [find_program(self.name) or self.name, "-db", "-f", str(self.folder / "haproxy.cfg")]

    def _is_ready(self) -> bool:
        try:
            return all(row["check_status"] not in {"", "INI"} for row in self.servers())
        except (OSError, http.client.HTTPException):
            return False
