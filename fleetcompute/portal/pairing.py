"""Approving a car: the owner types the code that the car shows, sees the car's name, and picks the car's number or no.

Number matching: the page shows three numbers, the car's screen one of them. A wrong pick refuses the car, and counts
like a wrong code. There is no other way to approve. While wrong codes cannot be counted, no code is looked at.

The code may come in the address (the car's QR code), but nothing is approved without the owner's own click: links that
approve are how device codes are stolen.
"""

from __future__ import annotations

import logging
from typing import ClassVar, Final

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods
from redis.exceptions import RedisError

from fleetcompute.portal.session import user_id_of
from workunits.domain.errors import FleetError
from workunits.models import Owner
from workunits.pipeline import enrol
from workunits.selectors import fleet

log = logging.getLogger(__name__)

WRONG_CODES_MAX: Final = 5
WRONG_CODES_SECONDS: Final = 600
NUMBER_DIGITS: Final = 2


class GuessesNotCounted(FleetError):
    """Codes cannot be checked at the moment; try again in a minute."""

    code: ClassVar[str] = "unavailable"
    retryable: ClassVar[bool] = True


@login_required
@require_http_methods(["GET", "POST"])
def pair(request: HttpRequest) -> HttpResponse:
    """Show the form for a code; then the car behind it; then carry out the answer."""
    owner = fleet.find_owner(user_id_of(request))
    if owner is None:
        return render(request, "pair.html", {"error": _("Only owners of cars can pair one.")}, status=403)
    values = request.POST if request.method == "POST" else request.GET
    code = values.get("code", "").strip()
    if not code:
        return render(request, "pair.html", {})
    try:
        if _has_guessed_too_often(owner):
            return render(request, "pair.html", {"error": _("Too many wrong codes; wait ten minutes.")}, status=429)
        return _answer_or_count(request, owner, code)
    except GuessesNotCounted as error:
        return render(request, "pair.html", {"code": code, "error": error.detail}, status=503)


def _answer_or_count(request: HttpRequest, owner: Owner, code: str) -> HttpResponse:
    try:
        return _answer(request, owner, code)
    except FleetError as error:
        if isinstance(error, enrol.PairingUnknown | enrol.MatchNumberWrong):
            _note_wrong_code(owner)
        shown = "" if isinstance(error, enrol.MatchNumberWrong) else code
        return render(request, "pair.html", {"code": shown, "error": error.detail}, status=400)


def _answer(request: HttpRequest, owner: Owner, code: str) -> HttpResponse:
    now = timezone.now()
    decision = request.POST.get("decision", "") if request.method == "POST" else ""
    number = request.POST.get("number", "") if request.method == "POST" else ""
    if number:
        picked = int(number) if number.isdecimal() and len(number) == NUMBER_DIGITS else 0
        car = enrol.approve_pairing(user_code=code, match_number=picked, owner_id=owner.pk, now=now)
        messages.success(request, _("%(car)s is yours now. It will start when its rules allow.") % {"car": car.name})
        return redirect("home")
    if decision == "deny":
        enrol.deny_pairing(user_code=code, now=now)
        messages.info(request, _("The car was refused."))
        return redirect("home")
    return render(request, "pair.html", {"pairing": enrol.find_pairing(user_code=code, now=now)})


def _cache_name(owner: Owner) -> str:
    return f"wrong-pairing-codes:{owner.pk}"


def _has_guessed_too_often(owner: Owner) -> bool:
    try:
        return int(cache.get(_cache_name(owner), 0)) >= WRONG_CODES_MAX
    except (RedisError, OSError) as problem:
        log.warning("no car can be paired, the cache does not answer: %s", problem)
        raise GuessesNotCounted from problem


def _note_wrong_code(owner: Owner) -> None:
    name = _cache_name(owner)
    try:
        if not cache.add(name, 1, WRONG_CODES_SECONDS):
            try:
                cache.incr(name)
            except ValueError:
                cache.set(name, 1, WRONG_CODES_SECONDS)
    except (RedisError, OSError) as problem:
        # The next code is not looked at while the cache is away.
        log.warning("a wrong code of owner %s is not counted, the cache does not answer: %s", owner.pk, problem)
