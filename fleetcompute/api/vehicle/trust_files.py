"""The repository and the public log of models, for anybody to read: nothing in them is secret, everything is signed.

Cars read the files without a signature of theirs, so that a cache or another host may serve them as well.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_safe

from fleetcompute.api.vehicle.guard import vehicle_view
from workunits.domain.errors import FleetError
from workunits.store.trust_files import LOG_PAGE_MAX, get_log_end, get_trust_file, list_log

# One name is replaced in place; all others carry a version or a hash and never change.
CHANGING: Final = "timestamp.json"
SECONDS_TO_CHECK: Final = 30
SECONDS_TO_KEEP: Final = 24 * 3600
_NAME = re.compile(r"(targets/client/)?[0-9A-Za-z][0-9A-Za-z._+-]{0,200}")


class TrustFileUnknown(FleetError):
    """The repository has no such file."""

    code: ClassVar[str] = "not_found"


@vehicle_view
@require_safe
def trust_file(request: HttpRequest, name: str) -> HttpResponseBase:
    """Send a file of the repository."""
    found = get_trust_file(name) if _NAME.fullmatch(name) else None
    if found is None:
        raise TrustFileUnknown(f"the repository has no {name[:80]}")
    content, version = found
    etag = f'"{version}"'
    if name == CHANGING and request.headers.get("If-None-Match") == etag:
        return HttpResponse(status=304, headers={"ETag": etag})
    response = HttpResponse(content, content_type="application/octet-stream")
    response.headers["ETag"] = etag
    patch_cache_control(response, public=True, max_age=SECONDS_TO_CHECK if name == CHANGING else SECONDS_TO_KEEP)
    return response


@require_safe
def transparency_log(request: HttpRequest) -> HttpResponseBase:
    """Show the log of every model that cars have been allowed to run, as JSON or, to a browser, as a page.

    `?start=N` begins at an index; without it the page shows the end, the JSON the beginning.
    """
    count, head = get_log_end()
    wants_page = "text/html" in request.headers.get("Accept", "")
    stated = request.GET.get("start", "")
    start = int(stated) if re.fullmatch(r"\d{1,12}", stated) else max(0, count - 100) if wants_page else 0
    entries = list_log(start=start, limit=100 if wants_page else LOG_PAGE_MAX)
    if wants_page:
        return render(request, "transparency.html", {"entries": entries[::-1], "count": count, "head": head})
    following = entries[-1]["index"] + 1 if entries else start
    document = {
        "count": count,
        "head": head,
        "entries": entries,
        "next": f"{settings.FLEET_PUBLIC_URL}/transparency/models?start={following}" if following < count else None,
    }
    return HttpResponse(orjson.dumps(document), content_type="application/json")
