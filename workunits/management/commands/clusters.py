"""`manage.py clusters list | link | unlink`: which owners are taken for one party and why, and an operator's word."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from workunits.domain.errors import FleetError
from workunits.models import Owner
from workunits.pipeline.clusters import OPERATOR_EDGE_LIFETIME, compute_clusters, link_owners, part_owners
from workunits.selectors.clusters import list_clusters, list_frequent_pairs

CLUSTERS_LISTED: Final = 1_000


class Command(BaseCommand):
    """Show clusters of owners with the reasons for them, join two owners, or hold two apart."""

    help = "Show which owners are taken for one party and why; join two owners, or hold two apart."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="compute the clusters and show them with their reasons")
        for action, help_text in (
            ("link", "join two owners"),
            ("unlink", "hold two owners apart, whatever they share"),
        ):
            told = actions.add_parser(action, help=help_text)
            told.add_argument("first", metavar="OWNER")
            told.add_argument("second", metavar="OWNER")
            told.add_argument("--reason", required=True, help="what other operators should know")
            told.add_argument("--days", type=int, default=OPERATOR_EDGE_LIFETIME.days, help="until it lapses")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "list":
            self._list()
            return
        tell = link_owners if options["action"] == "link" else part_owners
        first, second = self._find(options["first"]), self._find(options["second"])
        lifetime = timedelta(days=options["days"])
        try:
            tell(first, second, reason=options["reason"], now=timezone.now(), lifetime=lifetime)
        except FleetError as refusal:
            raise CommandError(str(refusal)) from None

    def _list(self) -> None:
        now = timezone.now()
        compute_clusters(now=now)
        clusters, has_more = list_clusters(clusters_max=CLUSTERS_LISTED)
        for cluster in clusters:
            more = ", …" if cluster.size > len(cluster.owners) else ""
            self.stdout.write(f"{cluster.size} owners: {', '.join(cluster.owners) or 'held apart'}{more}")
            for reason in cluster.reasons:
                self.stdout.write(f"  {reason}")
        if has_more:
            self.stdout.write(f"only the {CLUSTERS_LISTED} largest are shown")
        for pair in list_frequent_pairs(now=now):
            self.stdout.write(f"{pair.first} and {pair.second} checked each other {pair.audits} times in 30 days")

    def _find(self, public_id: str) -> int:
        found = Owner.objects.filter(public_id=public_id).values_list("id", flat=True).first()
        if found is None:
            raise CommandError(f"There is no owner {public_id!r}.")
        return int(found)
