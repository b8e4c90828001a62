"""`manage.py trust_key FILE --name NAME`: make one person's offline key. Needs no database."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from workunits.management.trust import TrustCommand, read_password
from workunits.trust.keys import make_key


class Command(TrustCommand):
    """Make an Ed25519 key, encrypted with a password, and its public half beside it."""

    help = "Make an offline key: FILE.pem stays with its holder, FILE.pub goes to the others."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="ends with .pem")
        parser.add_argument("--name", required=True, help="whose key it is")
        parser.add_argument("--unencrypted", action="store_true", help="for demonstrations only")

    def run(self, options: dict[str, Any]) -> None:
        path = options["file"].with_suffix(".pem")
        password = None if options["unencrypted"] else read_password(path, is_new=True)
        public = make_key(path, name=options["name"], password=password)
        self.stdout.write(f"Made {path} and {path.with_suffix('.pub')}; the key's id starts with {public.keyid[:12]}.")
