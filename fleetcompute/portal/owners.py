"""An owner's page: cars, credits, removing a car, saying that one computer only uses a car's key, and appealing."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from fleetcompute.portal.session import user_id_of
from workunits.models import Owner, Vehicle
from workunits.pipeline import enrol, oversight
from workunits.pipeline.identity import clear_suspicion
from workunits.selectors import fleet


class AppealForm(forms.Form):
    """What the owner says."""

    appeal = forms.CharField(max_length=oversight.APPEAL_CHARS_MAX)


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Show an owner his cars and credits; send anybody else to the batches."""
    owner = fleet.find_owner(user_id_of(request))
    if owner is None:
        return redirect("batches")
    return render(request, "owner_home.html", _home_of(owner))


@login_required
@require_http_methods(["GET", "POST"])
def remove_car(request: HttpRequest, public_id: str) -> HttpResponse:
    """Ask whether to remove a car, then remove it: it may never report again."""
    owner = fleet.find_owner(user_id_of(request))
    car = fleet.list_vehicles(owner.pk).filter(public_id=public_id).first() if owner else None
    if owner is None or car is None or car.status != Vehicle.Status.ACTIVE:
        raise Http404
    if request.method == "GET":
        return render(request, "remove_car.html", {"car": car})
    enrol.revoke_vehicle(vehicle_id=car.pk, owner_id=owner.pk, now=timezone.now())
    messages.success(request, _("%(car)s was removed.") % {"car": car.name})
    return redirect("home")


@login_required
@require_POST
def clear_clone(request: HttpRequest, public_id: str) -> HttpResponse:
    """Give a car work again after its owner says that only one computer uses its key."""
    owner = fleet.find_owner(user_id_of(request))
    car = fleet.list_vehicles(owner.pk).filter(public_id=public_id).first() if owner else None
    if owner is None or car is None:
        raise Http404
    if clear_suspicion(vehicle_id=car.pk, owner_id=owner.pk):
        messages.success(request, _("%(car)s gets work again.") % {"car": car.name})
    return redirect("home")


@login_required
@require_POST
def appeal(request: HttpRequest, public_id: str) -> HttpResponse:
    """Ask operators to look at a car that is held back or watched."""
    owner = fleet.find_owner(user_id_of(request))
    car = fleet.list_vehicles(owner.pk).filter(public_id=public_id).first() if owner else None
    if owner is None or car is None:
        raise Http404
    form = AppealForm(request.POST)
    if not form.is_valid():
        context = {**_home_of(owner), "refused_car": car, "refused": form}
        return render(request, "owner_home.html", context, status=400)
    try:
        oversight.appeal(vehicle_id=car.pk, owner_id=owner.pk, text=form.cleaned_data["appeal"], now=timezone.now())
    except oversight.AppealNotPossible as problem:
        messages.error(request, problem.detail)
    else:
        messages.success(request, _("Your appeal for %(car)s was sent. The answer appears here.") % {"car": car.name})
    return redirect("home")


def _home_of(owner: Owner) -> dict[str, Any]:
    return {
        "owner": owner,
        "cars": fleet.list_vehicles(owner.pk),
        "credits": fleet.get_credits(owner.pk),
        "appeal_chars_max": oversight.APPEAL_CHARS_MAX,
    }
