"""What every view of the researcher's API shares: key, scopes, rate, JSON, one form of error."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fleetcompute.api.authentication import ApiKeyAuthentication, Caller, HasScope
from fleetcompute.api.renderers import OneForm, OrjsonParser, OrjsonRenderer
from fleetcompute.api.throttles import KeyThrottle, add_rate_headers


class ResearchView(APIView):
    """A view for callers with an API key. `scopes` names the scope that each method needs."""

    authentication_classes = [ApiKeyAuthentication]
    permission_classes = [HasScope]
    throttle_classes = [KeyThrottle]
    parser_classes: Any = [OrjsonParser]
    renderer_classes = [OrjsonRenderer]
    content_negotiation_class = OneForm
    scopes: ClassVar[dict[str, str]] = {}

    def project_id_of(self, request: Request) -> int:
        """Return the project that the caller's key belongs to."""
        return cast(Caller, request.user).key.project_id

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """Add the rate headers, and keep private answers out of shared caches."""
        final = super().finalize_response(request, response, *args, **kwargs)
        add_rate_headers(request, final)
        final.headers.setdefault("Cache-Control", "private, no-cache")
        return final
