"""Where Django looks for the console: one module for each section."""

from __future__ import annotations

from django.contrib import admin

from fleetcompute.console import cars, interface, money, people, trust, work

__all__ = ["cars", "interface", "money", "people", "trust", "work"]

interface.register()
admin.site.site_header = "FleetCompute console"
admin.site.site_title = "FleetCompute"
admin.site.index_title = "Fleet, work and money"
