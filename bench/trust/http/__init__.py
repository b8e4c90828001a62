"""The behaviour part of `trust`: a fleet with liars in it against the production pipeline, over HTTP, on virtual time.

About a hundred cars with keys of their own send signed syncs to the WSGI application in this process, days pass in
seconds, and between their calls the periodic tasks run in the order of beat's schedule. Cars compute a small function
of numpy instead of a model; everything else is the product. The statistics with their confidence come from the domain's
functions (`bench.trust.statistics`); here it is seen that the engine does with real rows what those say.
"""

from __future__ import annotations

from bench.trust.http.options import HttpOptions
from bench.trust.http.run import run_http, run_scenarios

__all__ = ["HttpOptions", "run_http", "run_scenarios"]
