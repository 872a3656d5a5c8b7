from functools import partial

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_POST
from tasks import notify


@require_POST
@transaction.atomic
def ship(request: HttpRequest, order: int) -> JsonResponse:
    # … what the order needs in the database
    push = (request.user.id, "order_shipped", {"order": order}, f"order-{order}-shipped")
    transaction.on_commit(partial(notify.delay, *push))
    return JsonResponse({"order": order}, status=202)
