"""Who may ask the status page what. Pure: from a request's method and headers to a refusal or None.

A web page of a stranger that runs in a browser on this computer can make that browser send requests here. Against a
name that the stranger has pointed at 127.0.0.1 (DNS rebinding) stands the check of `Host`; against forms and scripts
of other origins that of `Origin` and `Sec-Fetch-Site`; against what is left, a token that only our own page holds.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
HTTP_PORT = 80


def refuse_request(method: str, headers: Mapping[str, str], *, port: int) -> str:
    """Return why a request is refused, empty when it may go on."""
    hosts = _list_hosts(port)
    if headers.get("Host", "").lower() not in hosts:
        return "this page answers only to 127.0.0.1 and localhost"
    site = headers.get("Sec-Fetch-Site", "")
    is_visit = method == "GET" and headers.get("Sec-Fetch-Mode", "") == "navigate"
    if site not in ("", "none", "same-origin") and not is_visit:
        return "another site may not use this page"
    if method == "POST" and headers.get("Origin", "").lower() not in {f"http://{host}" for host in hosts}:
        return "a change must come from this page itself"
    if "Origin" in headers and headers["Origin"].lower() not in {f"http://{host}" for host in hosts}:
        return "another site may not use this page"
    return ""


def is_token(given: str, token: str) -> bool:
    """Return True for the page's own token, in a time that does not depend on how much of it is right."""
    return hmac.compare_digest(given.encode(), token.encode())


def _list_hosts(port: int) -> set[str]:
    hosts = {f"{name}:{port}" for name in LOCAL_NAMES}
    return hosts | set(LOCAL_NAMES) if port == HTTP_PORT else hosts
