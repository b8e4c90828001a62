"""The web project of FleetCompute: everything that people, cars and programs talk to.

Kept free of imports on purpose: the supervisor in `fleetcompute.embedded` starts without paying for Django or
Celery. The Celery application is loaded with the settings (`fleetcompute.settings.base`).
"""
