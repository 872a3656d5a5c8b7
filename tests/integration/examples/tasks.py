from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown

from sanic_ws import SyncPublisher, User

app = Celery("tasks")  # CELERY_BROKER_URL


@worker_process_init.connect
def start(**_) -> None:  # in each process of the worker, after the fork
    app.publisher = SyncPublisher()  # SANIC_WS_REDIS_URL and SANIC_WS_AMQP_URL
    app.publisher.__enter__()


@worker_process_shutdown.connect
def stop(**_) -> None:
    app.publisher.__exit__()


@app.task(bind=True, acks_late=True, max_retries=10)
def notify(self, user: int, kind: str, data: dict, push_id: str) -> str:
    receipt = app.publisher.push(User(user), kind, data, id=push_id, offline="store")
    if receipt.outcome in ("unavailable", "unknown"):
        raise self.retry(countdown=1)  # under the same id: it is stored once
    return str(receipt.outcome)
