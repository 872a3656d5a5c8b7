import json
import sqlite3
import sys
import time

from sanic_ws import PushRequest, SyncPublisher, User

SAFE = {"delivered", "acked", "stored"}


def relay(database: sqlite3.Connection, publisher: SyncPublisher) -> int:
    """Push what transactions have left in the outbox, in order; return how many rows are done."""
    rows = database.execute("SELECT id, user, type, data FROM outbox ORDER BY id LIMIT 500").fetchall()
    pushes = [
        PushRequest(User(user), kind, json.loads(data), id=f"outbox-{row}", offline="store")
        for row, user, kind, data in rows
    ]
    done = 0
    for receipt in publisher.push_many(pushes):
        if not SAFE.issuperset(receipt.counts):
            break  # this one and those behind it come again; what is stored by then is known by its id
        done += 1
    with database:
        database.executemany("DELETE FROM outbox WHERE id = ?", [(row,) for row, *_ in rows[:done]])
    return done


def main() -> None:
    database = sqlite3.connect(sys.argv[1])
    with SyncPublisher() as publisher:
        while True:
            if not relay(database, publisher):
                time.sleep(0.2)


main()
