"""RabbitMQ as it is run where it matters: with TLS, with a user who may not do all, three servers as one."""

import secrets
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlsplit

from tests.certificates import Certificates
from tests.servers import LOOPBACK, RabbitServer, Server, find_program, wait_until

GREETING = b"AMQP\x00\x00\x09\x01"
METHOD_FRAME = b"\x01"
TOGETHER_S = 60.0
"""How long servers may take to find each other: a guard, not an expectation."""


class TlsRabbitServer(RabbitServer):
    """A RabbitMQ that nobody reaches without TLS; `url` names the authority's file once it was started."""

    def _write_settings(self) -> None:
        super()._write_settings()
        self.certificates = Certificates.of(self.folder)
        authority = quote(str(self.certificates.ca), safe="")
        self.url = f"amqps://guest:guest@{LOOPBACK}:{self.port}/?cafile={authority}"
        _append(
            self.folder / "rabbitmq.conf",
            "listeners.tcp = none",
            f"listeners.ssl.1 = {LOOPBACK}:{self.port}",
            f"ssl_options.cacertfile = {self.certificates.ca}",
            f"ssl_options.certfile = {self.certificates.certificate}",
            f"ssl_options.keyfile = {self.certificates.key}",
            "ssl_options.verify = verify_none",
            "ssl_options.fail_if_no_peer_cert = false",
        )

    def _is_ready(self) -> bool:
        trust = ssl.create_default_context(cafile=str(self.certificates.ca))
        try:
            with (
                socket.create_connection((LOOPBACK, self.port), 2) as plain,
                trust.wrap_socket(plain, server_hostname=LOOPBACK) as connection,
            ):
                connection.sendall(GREETING)
                return connection.recv(64).startswith(METHOD_FRAME)
        except OSError:
            return False


def add_limited_user(rabbit: RabbitServer, prefix: str) -> str:
    """Add a user who may touch nothing but what begins with the prefix; return the URL for that user."""
    name, password = f"limited-{secrets.token_hex(4)}", secrets.token_hex(8)
    own = rf"^{prefix}\..*"
    rabbit.ctl("add_user", name, password)
    rabbit.ctl("set_permissions", name, own, own, own)
    return urlsplit(rabbit.url)._replace(netloc=f"{name}:{password}@{LOOPBACK}:{rabbit.port}").geturl()


class PortMapper(Server):
    """An Erlang port mapper (epmd): it knows where the servers of this machine listen to each other."""

    name = "epmd"

    def _command(self) -> Sequence[str]:
        return [find_program(self.name) or self.name, "-port", str(self.port), "-address", LOOPBACK]

    def _is_ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK, self.port)) == 0


class RabbitMember(RabbitServer):
    """One of a cluster's servers; it has the cluster's port mapper and cookie, and all else of its own."""

    def __init__(self, mapper: PortMapper, cookie: str) -> None:
        super().__init__()
        self._epmd_port = mapper.port
        self._cookie = cookie
        self.members: Sequence[RabbitMember] = ()

    def running_members(self) -> set[str]:
        """Return the names of the servers that this one is together with, and its own."""
        listed = self.ctl("eval", "[atom_to_list(Name) || Name <- rabbit_nodes:all_running()].")
        return {member.node for member in self.members if f'"{member.node}"' in listed}

    def _start_epmd(self) -> None:
        """Use the cluster's."""

    def _write_settings(self) -> None:
        super()._write_settings()
        cookie = self.folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(self._cookie)
            cookie.chmod(0o400)
        formation = "cluster_formation"
        _append(
            self.folder / "rabbitmq.conf",
            f"{formation}.peer_discovery_backend = classic_config",
            *(f"{formation}.classic_config.nodes.{n} = {m.node}" for n, m in enumerate(self.members, 1)),
        )


class RabbitCluster:
    """Three RabbitMQ servers as one; `members[n].kill()` loses one and `members[n].start()` brings it back.

    The members have one Erlang port mapper, which outlives them.
    """

    def __init__(self, size: int = 3) -> None:
        self._mapper = PortMapper()
        cookie = secrets.token_hex(10)
        self.members = [RabbitMember(self._mapper, cookie) for _ in range(size)]
        for member in self.members:
            member.members = self.members

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The members' addresses, separated by commas."""
        return self.url_from(0)

    def url_from(self, first: int) -> str:
        """Return the members' addresses, beginning with this one."""
        return ",".join(member.url for member in (*self.members[first:], *self.members[:first]))

    def start(self) -> None:
        """Start all members and wait until they are together; stop them again where they are not."""
        try:
            self._mapper.start()
            for member in self.members:
                member.spawn()
            for member in self.members:
                member.wait_ready()
            self.wait_together()
        except BaseException:
            self.stop()
            raise

    def wait_together(self) -> None:
        """Wait until every running member is together with all running ones.

        Raises:
            ServerError: that takes longer than `TOGETHER_S`.
        """
        running = [member for member in self.members if member.running]
        names = {member.node for member in running}
        wait_until(
            lambda: all(member.running_members() == names for member in running),
            TOGETHER_S,
            "the members to be together",
        )

    def stop(self) -> None:
        """Stop all members, then their port mapper."""
        for member in self.members:
            member.terminate()
        for server in (*self.members, self._mapper):
            server.stop()


def _append(settings: Path, *lines: str) -> None:
    with settings.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
