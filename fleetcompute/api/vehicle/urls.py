"""Addresses of the vehicle wire, version 1. None ends with a slash: they are signed as they stand."""

from __future__ import annotations

from django.urls import path

from fleetcompute.api.vehicle import account, pairing, trust_files, views

urlpatterns = [
    path("pair/device", pairing.device),
    path("pair/token", pairing.token),
    path("pair/rotate", pairing.rotate),
    path("sync", views.sync),
    path("account", account.account),
    path("outputs/<str:token>", views.output),
    path("blobs/<str:sha256>", views.blob),
    path("trust/<path:name>", trust_files.trust_file),
]
