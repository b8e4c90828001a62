"""What the console's own pages share: rendering in the console's frame, who may act, and refusals as messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.template.response import TemplateResponse

from fleetcompute.console.bases import AnyAdmin
from workunits.domain.errors import FleetError

# Who may act upon cars and results; superusers may all.
ACT: Final = "workunits.change_vehiclestanding"


def render_page(
    section: AnyAdmin, request: HttpRequest, name: str, title: str, context: Mapping[str, Any]
) -> TemplateResponse:
    """Return a page in the console's frame. Raises PermissionDenied for those who may not see the section's table."""
    if not section.has_view_permission(request):
        raise PermissionDenied
    shown = {
        **section.admin_site.each_context(request),
        "title": title,
        "opts": section.opts,
        "may_act": request.user.has_perm(ACT),
        **context,
    }
    return TemplateResponse(request, f"admin/verification/{name}.html", shown)


def act(request: HttpRequest, action: Callable[[], object], done: str) -> bool:
    """Carry out what an operator asked for, and say what came of it; False where it was refused."""
    if not request.user.has_perm(ACT):
        raise PermissionDenied
    try:
        action()
    except FleetError as problem:
        messages.error(request, problem.detail)
        return False
    messages.success(request, done)
    return True
