"""Addresses of the portal."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

import fleetcompute.paths  # noqa: F401  (registers the converter)
from fleetcompute.portal import owners, pairing, researchers

urlpatterns = [
    path("", owners.home, name="home"),
    path("login/", LoginView.as_view(template_name="login.html"), name="login"),
    path("logout/", LogoutView.as_view(next_page="login"), name="logout"),
    path("pair", pairing.pair, name="pair"),
    path("cars/<public_id:public_id>/remove", owners.remove_car, name="remove_car"),
    path("cars/<public_id:public_id>/one-computer", owners.clear_clone, name="clear_clone"),
    path("cars/<public_id:public_id>/appeal", owners.appeal, name="appeal"),
    path("batches", researchers.batches, name="batches"),
    path("batches/<public_id:public_id>", researchers.batch, name="batch"),
]
