"""A certificate authority of the test's own, and a certificate of it for servers on loopback."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import trustme

NAMES = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True)
class Certificates:
    """The files that a server with TLS and its clients need, as PEM."""

    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Return the certificates in a server's folder, which a server that starts again finds again."""
        made = cls(folder / "ca.pem", folder / "server.pem", folder / "server.key")
        return made if made.key.exists() else cls.write(folder)

    @classmethod
    def write(cls, folder: Path, *names: str) -> Self:
        """Make an authority and a server's certificate for these names, or for loopback's.

        The files lie in `folder` and go with it.
        """
        authority = trustme.CA()
        server = authority.issue_cert(*(names or NAMES))
        made = cls(folder / "ca.pem", folder / "server.pem", folder / "server.key")
        authority.cert_pem.write_to_path(made.ca)
        server.cert_chain_pems[0].write_to_path(made.certificate)
        server.private_key_pem.write_to_path(made.key)
        return made
