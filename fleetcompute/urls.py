"""Every address: cars, researchers, owners, operators, and whoever watches over the processes."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from fleetcompute import health
from fleetcompute.api import faults
from fleetcompute.api.vehicle.trust_files import transparency_log

urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("api/vehicle/v1/", include("fleetcompute.api.vehicle.urls")),
    path("api/v1/", include("fleetcompute.api.research.urls")),
    path("transparency/models", transparency_log, name="transparency"),
    path("problems", faults.problem_index, name="problems"),
    path("problems/<slug:code>", faults.problem_page, name="problem"),
    path("console/", admin.site.urls),
    path("", include("fleetcompute.portal.urls")),
]

handler400 = faults.bad_request
handler403 = faults.permission_denied
handler404 = faults.not_found
handler500 = faults.server_error
