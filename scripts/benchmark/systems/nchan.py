"""Nchan: pub/sub over WebSockets in nginx, from Debian's packages."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.benchmark.load import Endpoint
from scripts.benchmark.processes import BenchServer
from tests.servers import find_program

if TYPE_CHECKING:
    from collections.abc import Sequence

TITLE = "Nchan"
MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
# One worker, as the others are one process; nothing is kept for late subscribers: Nchan at its fastest.
CONFIG = """
load_module {module};
user {user};
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 19800; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  nchan_shared_memory_size 256m;
  nchan_store_messages off;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location ~ ^/subscribe/(.+)$ {{ nchan_subscriber websocket; nchan_channel_id $1; }}
    location ~ ^/publish/(.+)$ {{ nchan_publisher http; nchan_channel_id $1; }}
  }}
}}
"""


def missing() -> str | None:
    """Say what is not installed, or None."""
    if find_program("nginx") is None:
        return "nginx is not installed (apt: nginx, libnginx-mod-nchan)"
    return None if MODULE.exists() else "the Nchan module is not installed (apt: libnginx-mod-nchan)"


class Nchan(BenchServer):
    """An nginx with one worker."""

    name = "nchan"
    title = TITLE

    @property
    def endpoint(self) -> Endpoint:
        """Connections with a channel each."""
        return Endpoint([f"ws://{self.address}/subscribe/c{{i}}"])

    @property
    def shared(self) -> Endpoint:
        """Connections that all listen to one channel."""
        return Endpoint([f"ws://{self.address}/subscribe/everyone"])

    def _command(self) -> Sequence[str]:
        config = self.folder / "nginx.conf"
        config.write_text(
            CONFIG.format(module=MODULE, user=getpass.getuser(), folder=self.folder, port=self.port)
        )
        return [find_program("nginx") or "nginx", "-p", str(self.folder), "-e", "stderr", "-c", str(config)]
