"""Redis as it is run where it matters: with TLS, with a limited user, behind Sentinels, as a Cluster."""

import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import redis

from tests.certificates import Certificates
from tests.servers import LOOPBACK, RedisServer, Server, ServerError, find_program, free_port, wait_until

SLOTS = 16384
TOGETHER_S = 60.0
"""How long servers may take to find each other: a guard, not an expectation."""

Announce = Callable[[int], int]
"""Where a server says that it listens, given where it does: a proxy's port."""


def as_it_is(port: int) -> int:
    """Announce the port itself."""
    return port


class RedisNode(RedisServer):
    """A Redis that can be asked; with `tls` it serves nothing else, and `url` names the authority's file.

    Args:
        options: more of redis-server's own.
        tls: whether to serve TLS, and certificates from which folder; its own if True.
    """

    def __init__(self, *options: str, tls: bool | Path = False, port: int | None = None) -> None:
        super().__init__(*options, port=port)
        self.servers = [self]
        self.certificates: Certificates | None = None
        if tls:
            self.certificates = Certificates.of(self.folder if tls is True else tls)
        self.url = self.url_for()

    def url_for(self, credentials: str = "", db: int = 0) -> str:
        """Return the URL for a user, given as `name:password@`."""
        place = f"{credentials}{LOOPBACK}:{self.port}/{db}"
        if self.certificates is None:
            return f"redis://{place}"
        return f"rediss://{place}?{_trust(self.certificates)}"

    def ask(self, *command: Any) -> Any:
        """Run a command with all rights and return its answer."""
        return ask(self.port, *command, certificates=self.certificates)

    def _command(self) -> Sequence[str]:
        command = super()._command()
        if self.certificates is None:
            return command
        settings = {
            "port": 0,
            "tls-port": self.port,
            "tls-cert-file": self.certificates.certificate,
            "tls-key-file": self.certificates.key,
            "tls-ca-cert-file": self.certificates.ca,
            "tls-auth-clients": "no",
            "tls-replication": "yes",
        }
        return [*command, *(str(part) for key, value in settings.items() for part in (f"--{key}", value))]

    def _is_ready(self) -> bool:
        try:
            return bool(self.ask("PING"))
        except redis.RedisError:
            return False


def cut_replication(master: RedisNode) -> None:
    """Let a master's replicas get nothing more from it."""
    master.ask("ACL", "SETUSER", "replication", "off")
    master.ask("CLIENT", "KILL", "TYPE", "replica")


def masters_of(servers: Iterable[RedisNode]) -> list[RedisNode]:
    """Return the servers that run and are masters."""
    return [server for server in servers if server.running and server.ask("ROLE")[0] == "master"]


def ask(
    port: int, *command: Any, certificates: Certificates | None = None, password: str | None = None
) -> Any:
    """Run one command on a server on loopback and return its answer."""
    secure: dict[str, Any] = {"ssl": True, "ssl_ca_certs": str(certificates.ca)} if certificates else {}
    common: dict[str, Any] = {"protocol": 2, "decode_responses": True, "socket_timeout": 5, **secure}
    with redis.Redis(LOOPBACK, port, password=password, **common) as client:
        # Past redis-py's own idea of what an answer should look like.
        client.response_callbacks.clear()
        return client.execute_command(*command)


def _trust(certificates: Certificates) -> str:
    return f"ssl_ca_certs={quote(str(certificates.ca), safe='')}"


def add_limited_user(servers: Iterable[RedisNode], prefix: str, *rights: str) -> tuple[str, str]:
    """Add a user who has no other rights than these and the prefix's keys; return name and password."""
    name, password = f"limited-{secrets.token_hex(4)}", secrets.token_hex(8)
    for server in servers:
        server.ask("ACL", "SETUSER", name, "on", f">{password}", f"~{prefix}:*", *rights)
    return name, password


class _Sentinel(Server):
    """A Sentinel, which writes what it learns into its file of settings."""

    name = "redis-sentinel"

    def __init__(self, settings: Sequence[str], certificates: Certificates | None, password: str) -> None:
        super().__init__()
        self._certificates = certificates
        self._password = password or None
        secure = [
            "port 0",
            f"tls-port {self.port}",
            *(f"tls-{name}-file {path}" for name, path in _files(certificates)),
            "tls-auth-clients no",
            "tls-replication yes",
        ]
        where = secure if certificates else [f"port {self.port}"]
        protected = [f"requirepass {password}"] if password else []
        self._settings = [*where, *protected, f"bind {LOOPBACK}", f"dir {self.folder}", *settings]

    def ask(self, *command: Any) -> Any:
        """Run a command and return its answer."""
        return ask(self.port, *command, certificates=self._certificates, password=self._password)

    def _command(self) -> Sequence[str]:
        path = self.folder / "sentinel.conf"
        if not path.exists():
            path.write_text("\n".join([*self._settings, ""]))
        return [find_program("redis-server") or "redis-server", str(path), "--sentinel"]

    def _is_ready(self) -> bool:
        try:
            return bool(self.ask("PING"))
        except redis.RedisError:
            return False


def _files(certificates: Certificates | None) -> list[tuple[str, Path]]:
    if certificates is None:
        return []
    return [("cert", certificates.certificate), ("key", certificates.key), ("ca-cert", certificates.ca)]


class SentinelSetup:
    """A master, two replicas, and three Sentinels that watch them.

    Args:
        options: more of redis-server's own, for all three.
        tls: whether all of them serve TLS.
        sentinel_password: what the Sentinels want to hear.
        down_after_ms: how long the master has to be silent.
        announce: where a server says that it listens; replication and Sentinels go there as well.
    """

    master_name = "main"

    def __init__(
        self,
        *options: str,
        tls: bool = False,
        sentinel_password: str = "",
        down_after_ms: int = 1000,
        announce: Announce = as_it_is,
    ) -> None:
        self._announce = announce
        self._password = sentinel_password
        first = RedisNode(*_REPLICATION, *options, tls=tls)
        follow = ("--replicaof", LOOPBACK, str(announce(first.port)))
        folder = first.folder if tls else False
        others = [RedisNode(*_REPLICATION, *follow, *options, tls=folder) for _ in range(2)]
        self.servers = [first, *others]
        for server in self.servers:
            server._options += ("--replica-announce-port", str(announce(server.port)))
        name = self.master_name
        settings = [
            f"sentinel monitor {name} {LOOPBACK} {announce(first.port)} 2",
            f"sentinel down-after-milliseconds {name} {down_after_ms}",
            f"sentinel failover-timeout {name} 5000",
            f"sentinel parallel-syncs {name} 2",
        ]
        self.sentinels = [_Sentinel(settings, first.certificates, sentinel_password) for _ in range(3)]
        self.url = self.url_for()

    def url_for(self, credentials: str = "", db: int = 0) -> str:
        """Return the URL for a user, given as `name:password@`."""
        places = ",".join(f"{LOOPBACK}:{sentinel.port}" for sentinel in self.sentinels)
        certificates = self.servers[0].certificates
        options = [
            *(["tls=true", _trust(certificates)] if certificates else []),
            *([f"sentinel_password={self._password}"] if self._password else []),
        ]
        return f"redis+sentinel://{credentials}{places}/{self.master_name}/{db}?{'&'.join(options)}".rstrip(
            "?"
        )

    def __enter__(self) -> Self:
        try:
            _start(self.servers)
            wait_until(self._replicas_follow, TOGETHER_S, "the replicas to follow", log=self.servers[0].log)
            _start(self.sentinels)
            wait_until(self._all_know_all, TOGETHER_S, "the Sentinels", log=self.sentinels[0].log)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop all of them."""
        _stop([*self.sentinels, *self.servers])

    @property
    def master(self) -> RedisNode:
        """The server that the Sentinels call the master."""
        port = int(self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.master_name)[1])
        return next(server for server in self.servers if self._announce(server.port) == port)

    def kill_master(self) -> RedisNode:
        """Kill the master and return it; a replica is promoted by and by."""
        master = self.master
        master.kill()
        return master

    def promote(self) -> None:
        """Make the Sentinels promote a replica while the master lives."""
        self.sentinels[0].ask("SENTINEL", "FAILOVER", self.master_name)

    def is_promoted(self, old: RedisNode) -> bool:
        """Tell whether another server than this is the master now, and knows it."""
        return any(
            server is not old and server.running and server.ask("ROLE")[0] == "master"
            for server in self.servers
        )

    def is_whole(self) -> bool:
        """Tell whether all servers run, and follow the one master that all Sentinels know."""
        return all(server.running for server in self.servers) and self._all_know_all()

    def _replicas_follow(self) -> bool:
        return self.servers[0].ask("INFO", "replication").count("state=online") == len(self.servers) - 1

    def _all_know_all(self) -> bool:
        views = [_pairs(s.ask("SENTINEL", "MASTER", self.master_name)) for s in self.sentinels]
        followers = [s.ask("SENTINEL", "REPLICAS", self.master_name) for s in self.sentinels]
        return len({view["port"] for view in views}) == 1 and all(
            view["flags"] == "master"
            and view["num-other-sentinels"] == str(len(self.sentinels) - 1)
            and [_pairs(server)["flags"] for server in servers] == ["slave"] * (len(self.servers) - 1)
            for view, servers in zip(views, followers, strict=True)
        )


class RedisCluster:
    """Three masters and a replica of each.

    Args:
        options: more of redis-server's own, for all.
        tls: whether all of them serve TLS.
        node_timeout_ms: how long a master has to be silent.
        announce: where a server says that it listens.
    """

    def __init__(
        self,
        *options: str,
        tls: bool = False,
        node_timeout_ms: int = 1500,
        announce: Announce = as_it_is,
    ) -> None:
        self._announce = announce
        self.servers: list[RedisNode] = []
        cluster = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout_ms))
        secure = ("--tls-cluster", "yes") if tls else ()
        for _ in range(6):
            folder = self.servers[0].folder if tls and self.servers else tls
            server = RedisNode(*_REPLICATION, *cluster, *secure, *options, tls=folder)
            kind = "cluster-announce-tls-port" if tls else "cluster-announce-port"
            server._options += ("--cluster-port", str(free_port()), f"--{kind}", str(announce(server.port)))
            self.servers.append(server)
        self.url = self.url_for()

    def url_for(self, credentials: str = "") -> str:
        """Return the URL for a user, given as `name:password@`."""
        places = ",".join(f"{LOOPBACK}:{self._announce(server.port)}" for server in self.servers[:3])
        certificates = self.servers[0].certificates
        options = f"?tls=true&{_trust(certificates)}" if certificates else ""
        return f"redis+cluster://{credentials}{places}{options}"

    def __enter__(self) -> Self:
        try:
            _start(self.servers)
            self._join()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop all of them."""
        _stop(self.servers)

    @property
    def masters(self) -> list[RedisNode]:
        """The servers that have slots and run."""
        return [server for server in self.servers if server.running and self._has_slots(server)]

    def master_of(self, key: str) -> RedisNode:
        """Return the server that has a key."""
        port = self._owner_port(self._any(), key)
        return next(server for server in self.servers if self._announce(server.port) == port)

    def replica_of(self, master: RedisNode) -> RedisNode:
        """Return a replica of a master."""
        name = master.ask("CLUSTER", "MYID")
        return next(s for s in self.servers if s.running and _myself(s)[3] == name)

    def promote(self, replica: RedisNode) -> None:
        """Let a replica take over from its master, with the master's consent."""
        replica.ask("CLUSTER", "FAILOVER")

    def has_taken_over(self, replica: RedisNode) -> bool:
        """Tell whether a replica has slots now, and the Cluster works."""
        return self._has_slots(replica) and "cluster_state:ok" in replica.ask("CLUSTER", "INFO")

    def is_whole(self) -> bool:
        """Tell whether all servers run, agree, and every master has its replica."""
        return all(server.running and self._sees_all(server) for server in self.servers)

    def _any(self) -> RedisNode:
        return next(server for server in self.servers if server.running)

    def _owner_port(self, server: RedisNode, key: str) -> int:
        slot = server.ask("CLUSTER", "KEYSLOT", key)
        return next(s[2][1] for s in server.ask("CLUSTER", "SLOTS") if s[0] <= slot <= s[1])

    @staticmethod
    def _has_slots(server: RedisNode) -> bool:
        return len(_myself(server)) > len(_FIELDS_OF_A_NODE)

    def _join(self) -> None:
        first, *others = self.servers
        for epoch, server in enumerate(self.servers, 1):
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        for other in others:
            bus = other._options[other._options.index("--cluster-port") + 1]
            first.ask("CLUSTER", "MEET", LOOPBACK, other.port, bus)
        for at, server in enumerate(self.servers[:3]):
            server.ask("CLUSTER", "ADDSLOTSRANGE", at * SLOTS // 3, (at + 1) * SLOTS // 3 - 1)
        wait_until(self._all_met, TOGETHER_S, "the servers to meet", log=first.log)
        for master, replica in zip(self.servers[:3], self.servers[3:], strict=True):
            replica.ask("CLUSTER", "REPLICATE", master.ask("CLUSTER", "MYID"))
        wait_until(self.is_whole, TOGETHER_S, "the cluster", log=first.log)

    def _all_met(self) -> bool:
        return all(
            f"cluster_known_nodes:{len(self.servers)}" in s.ask("CLUSTER", "INFO")
            and "handshake" not in s.ask("CLUSTER", "NODES")
            for s in self.servers
        )

    def _sees_all(self, server: RedisNode) -> bool:
        role = server.ask("ROLE")
        linked = role[3] == "connected" if role[0] == "slave" else bool(role[2])
        seen = server.ask("CLUSTER", "SLOTS")
        return (
            linked
            and "cluster_state:ok" in server.ask("CLUSTER", "INFO")
            and "fail" not in server.ask("CLUSTER", "NODES")
            and all(len(servers) == 2 for _, _, *servers in seen)
        )


_REPLICATION = (
    *("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"),
    *("--masteruser", "replication", "--masterauth", "secret"),
    *("--user", "replication", "on", ">secret", "+psync", "+replconf", "+ping"),
)
_FIELDS_OF_A_NODE = range(8)


def _myself(server: RedisNode) -> list[str]:
    """Return what a server of a Cluster says of itself: id, address, flags, master, …, slots."""
    lines = server.ask("CLUSTER", "NODES").splitlines()
    return next(line.split() for line in lines if "myself" in line)


def _pairs(answer: Sequence[str]) -> dict[str, str]:
    return dict(zip(answer[::2], answer[1::2], strict=True))


def _start(servers: Sequence[Server]) -> None:
    for server in servers:
        server.spawn()
    for server in servers:
        server.wait_ready()


def _stop(servers: Sequence[Server]) -> None:
    for server in servers:
        with suppress(ServerError):
            server.terminate()
    for server in servers:
        server.stop()
