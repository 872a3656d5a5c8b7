"""What `helm test` runs: a node has to be ready, and to answer a request for /ws that is no upgrade."""

import os
import sys
import urllib.error
import urllib.request


def status(path: str) -> int:
    try:
        with urllib.request.urlopen(os.environ["NODE_URL"] + path, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


wanted = {"/livez": 200, "/readyz": 200, "/ws": 400, "/api/v1/nodes": 401}
found = {path: status(path) for path in wanted}
print(found)
sys.exit(found != wanted)
