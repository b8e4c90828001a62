"""By which way a request travels: through a proxy or not, and whose certificates it believes."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined] # typeshed's gap

import requests

from fleetclient.netpolicy.options import NO_PROXY, NetworkOptions, NetworkOptionsInvalid


def choose_proxy(options: NetworkOptions, origin: str) -> str:
    """Return the proxy's address for a server, from the options or the environment; empty for none."""
    if options.proxy == NO_PROXY:
        return ""
    if options.proxy:
        return options.proxy
    parts = urlsplit(origin)
    named = getproxies_environment()
    if proxy_bypass_environment(parts.netloc, named) or proxy_bypass_environment(parts.hostname or "", named):
        return ""
    return named.get(parts.scheme) or named.get("all") or ""


def make_session(options: NetworkOptions, origin: str, *, folder: Path = Path()) -> requests.Session:
    """Return an HTTP session for one server. Raises NetworkOptionsInvalid when a file it names is not there.

    It reads nothing from the environment by itself: a .netrc would add passwords, CURL_CA_BUNDLE other certificates.
    """
    session = requests.Session()
    session.trust_env = False
    session.headers.clear()
    proxy = choose_proxy(options, origin)
    if proxy:
        session.proxies = {"http": proxy, "https": proxy}
    if options.ca_file:
        path = folder / options.ca_file
        if not path.is_file():
            raise NetworkOptionsInvalid(f"ca_file: there is no file {path}")
        session.verify = str(path)
    return session
