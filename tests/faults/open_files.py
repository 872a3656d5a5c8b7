"""What a process has open, by what is at the other end (Linux: proc(5))."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

ESTABLISHED, LISTENING = "01", "0A"
FORGOTTEN = "forgotten"
"""Of a TCP socket that was reset the system does not tell any more where it led."""


def open_files(pid: int, names: Mapping[int, str]) -> Counter[str]:
    """Count a process's files and sockets.

    Args:
        pid: the process.
        names: what is to be counted by name: ports at this end or at the other one.

    Returns:
        How many there are of each name, of other kinds of sockets, of those that were reset and not closed
        here (`FORGOTTEN`), and of other files.
    """
    ends, others = _tcp(), _unix()
    return Counter(_name(link, ends, others, names) for link in _links(pid))


def _links(pid: int) -> list[str]:
    links = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(str(fd.readlink()))
        except OSError:
            continue  # closed meanwhile
    return links


def _name(
    link: str, ends: Mapping[str, tuple[int, int, str]], others: set[str], names: Mapping[int, str]
) -> str:
    if not link.startswith("socket:"):
        return "file"
    inode = link[8:-1]
    end = ends.get(inode)
    if end is None:
        return "socket" if inode in others else FORGOTTEN
    here, there, state = end
    if state == LISTENING:
        return "listening"
    name = names.get(there) or names.get(here) or "unknown"
    return name if state == ESTABLISHED else f"{name}, closing"


def _tcp() -> dict[str, tuple[int, int, str]]:
    """Return port, peer's port and state of every TCP socket, by inode."""
    found = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, here, there, state, *rest = line.split()
        found[rest[5]] = int(here.split(":")[1], 16), int(there.split(":")[1], 16), state
    return found


def _unix() -> set[str]:
    """Return the inodes of all Unix sockets."""
    return {line.split()[6] for line in Path("/proc/net/unix").read_text().splitlines()[1:]}
