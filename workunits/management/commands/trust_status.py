"""`manage.py trust_status`: what is in force, until when, and what waits."""

from __future__ import annotations

from typing import Any, Final

from django.utils import timezone
from tuf.api.metadata import Metadata

from workunits.management.trust import TrustCommand, first_fingerprint, read_root, read_targets
from workunits.store.admissions import count_admissions
from workunits.store.trust_files import get_log_end, get_trust_file, list_open_orders, list_published
from workunits.trust import names
from workunits.trust.describe import describe_role

WARN_DAYS: Final = 21


class Command(TrustCommand):
    """Reads the published copy; needs no key."""

    help = "Show the repository's roles, the admissions and the log."

    def run(self, options: dict[str, Any]) -> None:
        now, root, targets = timezone.now(), read_root(), read_targets()
        self.stdout.write(describe_role(root, name=names.ROOT, now=now))
        self.stdout.write(describe_role(targets, name=names.TARGETS, now=now))
        for role in (names.MODELS, names.SNAPSHOT, names.TIMESTAMP):
            self.stdout.write(describe_role(_published(role), name=role, now=now))
        for name, metadata in ((names.ROOT, root), (names.TARGETS, targets)):
            if (metadata.signed.expires - now).days < WARN_DAYS:
                self.stdout.write(f"Renew {name} soon: trust_rotate {name}, trust_sign, trust_publish.")
        self.stdout.write(f"first root  sha256 {first_fingerprint()}")
        count, last = get_log_end()
        self.stdout.write(f"log         {count} entries, head {last or '-'}")
        states = ", ".join(f"{number} {state}" for state, number in count_admissions().items())
        self.stdout.write(f"models      {states}; open orders: {len(list_open_orders())}")


def _published(role: str) -> Metadata[Any]:
    versions = [version for name, version in list_published().items() if name == names.file_name(role, version)]
    found = get_trust_file(names.file_name(role, versions[0] if versions else 0))
    return Metadata.from_bytes(found[0] if found else b"")
