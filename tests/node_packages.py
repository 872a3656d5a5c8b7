"""What programs for Node need from npm."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.servers import require

INSTALL_S = 60.0


def install(folder: Path, *packages: str) -> None:
    """Install packages for the programs in a folder; where that cannot be, skip, or fail where `CI=true`."""
    try:
        reason = _install(folder, *packages)
    except subprocess.TimeoutExpired:
        # It waits for ever for an answer that was lost.
        reason = _install(folder, *packages)
    if reason:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up(f"{', '.join(packages)} could not be installed: {reason}")


def _install(folder: Path, *packages: str) -> str:
    """Install packages; return what went wrong, if anything did."""
    command = [require("npm"), "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]
    ended = subprocess.run(
        [*command, folder, *packages],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )
    return ended.stderr[-500:] or "no reason given" if ended.returncode else ""
