"""How a public id looks in an address: anything else is a 404 before a query is made of it."""

from __future__ import annotations

from django.urls import register_converter


class PublicId:
    """A short prefix, an underscore, letters and digits."""

    regex = "[a-z]{2,4}_[0-9A-Za-z_]{1,40}"

    def to_python(self, value: str) -> str:
        """Return the id as it stands."""
        return value

    def to_url(self, value: str) -> str:
        """Return the id as it stands."""
        return value


register_converter(PublicId, "public_id")
