"""The JavaScript client, by tests of its own on Node."""

import subprocess
from pathlib import Path

from tests.servers import require

TESTS = Path(__file__).with_name("sanic_ws.test.mjs")
WAIT_S = 60.0


def test_client():
    command = [require("node"), "--test", "--test-reporter=tap", TESTS]
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert ended.returncode == 0, ended.stdout
    assert "\n# pass " in ended.stdout
    assert "\n# pass 0\n" not in ended.stdout
