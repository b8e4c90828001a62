#!/usr/bin/env python
"""Django's command line for this project."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run one management command with the development settings unless others are named.

    A setting that is missing or wrong ends it with one sentence instead of a stack trace.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleetcompute.settings.development")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from fleetcompute.settings.absent_database.base import NoDatabaseError

    try:
        execute_from_command_line(sys.argv)
    except (ImproperlyConfigured, NoDatabaseError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
