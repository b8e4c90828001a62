"""The web project of FleetCompute: everything that people, cars and programs talk to.

Kept free of imports on purpose: the supervisor in `fleetcompute.embedded` starts without paying for Django or
Celery. Code that needs the Celery application imports it from `fleetcompute.celery`.
"""
