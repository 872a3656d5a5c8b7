"""Files for pages: whole, of the right kind, and nothing else."""

import subprocess
import sys
import zipfile

import pytest

from sanic_ws.http.static import FILES, LIBRARY, read
from tests.integration.peers import call
from tests.readme import ROOT


@pytest.mark.parametrize("name", FILES)
async def test_file_comes_as_what_it_is(nodes, name):
    answer = await call(nodes[0], "GET", f"/static/{name}")
    assert (answer.status, answer.body.decode()) == (200, read(name))
    kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml", "ts": "text/plain"}
    assert answer.headers["content-type"] == f"{kinds[name.rpartition('.')[2]]}; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers.get("access-control-allow-origin") == ("*" if name in LIBRARY else None)


async def test_what_a_browser_has_is_not_sent_again(nodes):
    path = f"/static/{FILES[0]}"
    tag = (await call(nodes[0], "GET", path)).headers["etag"]
    assert (await call(nodes[1], "GET", path)).headers["etag"] == tag
    for given in (tag, f'"other", W/{tag}', "*"):
        answer = await call(nodes[0], "GET", path, headers={"If-None-Match": given})
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
    assert (await call(nodes[0], "GET", path, headers={"If-None-Match": '"other"'})).status == 200


@pytest.mark.parametrize(
    "path", ["", "nothing.js", "../static.py", "..%2Fstatic.py", "%2e%2e/static.py", "__init__.py"]
)
async def test_nothing_else_is_served(nodes, path):
    assert (await call(nodes[0], "GET", f"/static/{path}")).status == 404


def test_wheel_has_them(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, ROOT]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        assert {f"sanic_ws/http/static/{name}" for name in (*FILES, "console.html")} <= set(packed.namelist())
