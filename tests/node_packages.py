"""What programs for Node need from npm."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
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


def cached(*packages: str) -> Path:
    """Return a folder below `.cache` that has packages; made as a whole, whoever else makes it meanwhile."""
    digest = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:16]
    folder = Path(__file__).parents[1] / ".cache" / f"npm-{digest}"
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent))
        install(made, *packages)
        with suppress(OSError):
            made.rename(folder)
        shutil.rmtree(made, ignore_errors=True)
    return folder


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
