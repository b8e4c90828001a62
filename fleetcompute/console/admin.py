"""Where Django looks for the console: one module for each section."""

from __future__ import annotations

from django.contrib import admin

from fleetcompute.console import audits, cars, clusters, interface, money, people, standing, trust, work

__all__ = ["audits", "cars", "clusters", "interface", "money", "people", "standing", "trust", "work"]

interface.register()
admin.site.index_template = "admin/verification/index.html"
admin.site.site_header = "FleetCompute console"
admin.site.site_title = "FleetCompute"
admin.site.index_title = "Fleet, work and money"
