"""JSON in and out by orjson: about ten times cheaper than the standard library's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any, Final

import orjson
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from fleetcompute.api.errors import BodyTooLarge, Malformed

JSON_BYTES_MAX: Final = 1024 * 1024


class OrjsonRenderer(BaseRenderer):
    """Writes JSON; datetimes become RFC 3339 in UTC with a `Z`."""

    media_type = "application/json"
    format = "json"
    charset = None
    render_style = "binary"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        """Return the document's bytes; nothing at all for None (a 204)."""
        return b"" if data is None else orjson.dumps(data, option=orjson.OPT_UTC_Z)


class OrjsonParser(BaseParser):
    """Reads a JSON object of at most `JSON_BYTES_MAX` bytes."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the object. Raises BodyTooLarge or Malformed."""
        body = stream.read(JSON_BYTES_MAX + 1)
        if len(body) > JSON_BYTES_MAX:
            raise BodyTooLarge(f"A JSON body has at most {JSON_BYTES_MAX} bytes.")
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise Malformed(f"The body is not JSON: {error}.") from None
        if not isinstance(document, dict):
            raise Malformed("The body must be a JSON object.")
        return document


class OneForm(BaseContentNegotiation):
    """Answers in the view's first form whatever `Accept` says, and leaves the query parameter `format` to the view."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """Return the parser for the request's content type, None where there is none (a 415)."""
        content_type = request.content_type.split(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == content_type), None)

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        """Return the first renderer."""
        return renderers[0], renderers[0].media_type
