"""No node says what is secret: the tests note here what they hand out, and what nodes say is looked through.

Keys, tokens and passwords must be nowhere in what a node logs or answers. Connections' ids, as good as
secrets where clients are anonymous, must not be in logs and errors; receipts and look-ups do name them.
"""

import json
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

MIN_CHARS = 10
"""Shorter ones would be found in words that mean something else."""

_secrets: dict[str, set[str]] = {}
_signs: dict[str, set[str]] = {}
_found: list[str] = []


def note(*secrets: str) -> None:
    """Note keys, passwords, or tokens, of which each part is secret."""
    for secret in secrets:
        _add(_secrets, secret)
        for part in secret.split("."):
            _add(_secrets, part)


def note_sign(sign: str) -> None:
    """Note a connection's id."""
    _add(_signs, sign)


def note_settings(env: Mapping[str, str]) -> None:
    """Note what is secret in a node's settings."""
    note(env.get("SANIC_WS_JWT_SECRET", ""))
    for key in env.get("SANIC_WS_API_KEYS", "").split(","):
        note(*key.strip().split(":")[1:2])
    for name in ("REDIS_URL", "AMQP_URL", "JWT_JWKS_URL"):
        for url in env.get(f"SANIC_WS_{name}", "").split(","):
            note_url(url)


def note_url(url: str) -> None:
    """Note the passwords in a URL."""
    split = urlsplit(url)
    note(split.netloc.rpartition("@")[0].partition(":")[2])
    note(*(value for name, value in parse_qsl(split.query) if "password" in name))


def look_through(text: str, where: str, *, signs: bool = True) -> None:
    """Look for secrets in what a node has said; what is found fails the test that is running.

    Args:
        text: what it said.
        where: that is, for people.
        signs: whether connections' ids are secret there.
    """
    _found.extend(
        f"{where}: {line[:500]}"
        for line in set(text.splitlines())
        if _holds(line, _secrets) or (signs and _holds(line, _signs))
    )


def take() -> list[str]:
    """Return what was found since the last time."""
    found = _found.copy()
    _found.clear()
    return found


def _add(known: dict[str, set[str]], secret: str) -> None:
    # As logs in JSON write it too.
    for written in {secret, json.dumps(secret)[1:-1]} if len(secret) >= MIN_CHARS else ():
        known.setdefault(written[:MIN_CHARS], set()).add(written)


def _holds(line: str, known: dict[str, set[str]]) -> bool:
    """Look by the first characters, so that the time does not depend on how many secrets there are."""
    return any(
        line.startswith(secret, place)
        for place in range(len(line) - MIN_CHARS + 1)
        for secret in known.get(line[place : place + MIN_CHARS], ())
    )
