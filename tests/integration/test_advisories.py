"""No dependency has a known advisory; skipped, with why, where nobody can be asked."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
WAIT_S = 60


async def audit(requirements: Path) -> list[dict[str, Any]]:
    """Ask for the advisories of pinned requirements."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("pip-audit"),
        *("--requirement", requirements, "--disable-pip", "--no-deps"),
        *("--format", "json", "--progress-spinner", "off"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), WAIT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        pytest.skip("the service of advisories does not answer")
    try:
        answered = json.loads(out)
    except ValueError:
        pytest.skip(f"the service of advisories cannot be reached: {err.decode()[-300:]}")
    dependencies: list[dict[str, Any]] = answered["dependencies"]
    return dependencies


async def test_no_dependency_has_a_known_advisory(tmp_path):
    pinned = CONSTRAINTS.read_text().splitlines()
    # One first: where the service does not know that, it knows none, and is not asked for all.
    probe = tmp_path / "probe.txt"
    probe.write_text(next(line for line in pinned if line.startswith("sanic==")))
    (asked,) = await audit(probe)
    if "skip_reason" in asked:
        pytest.skip(f"the service of advisories is not to be had here: {asked['skip_reason']}")
    audited = await audit(CONSTRAINTS)
    assert len(audited) == len(pinned)
    found = {one["name"]: [vuln["id"] for vuln in one["vulns"]] for one in audited if one.get("vulns")}
    assert not found
