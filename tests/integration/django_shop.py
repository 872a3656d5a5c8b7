"""A Django application around `examples/views.py`, for the tests: `django_shop.py ORDER USER`."""

import sys
from contextlib import suppress
from types import SimpleNamespace

import django
from django.conf import settings
from django.db import DatabaseError, transaction
from django.test import RequestFactory

DATABASE = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
settings.configure(DATABASES={"default": DATABASE}, DEFAULT_CHARSET="utf-8")
django.setup()

from views import ship  # noqa: E402 - after the settings


def request(user: int):
    made = RequestFactory().post("/ship")
    made.user = SimpleNamespace(id=user)
    return made


order, user = int(sys.argv[1]), int(sys.argv[2])
with suppress(DatabaseError), transaction.atomic():
    ship(request(user), order)
    raise DatabaseError("a transaction that is rolled back tells nobody")
sys.stdout.write(ship(request(user), order + 1).content.decode())
