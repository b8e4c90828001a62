"""Who is signed in."""

from __future__ import annotations

from django.http import HttpRequest


def user_id_of(request: HttpRequest) -> int:
    """Return the id of the signed-in user; call it only behind `login_required`."""
    user_id = request.user.pk
    assert user_id is not None
    return int(user_id)
