"""`manage.py trust_sign STAGED --key KEY`: read what a staged change does and add one signature. Needs no database."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from workunits.management.trust import STAGED_HELP, TrustCommand, read_password
from workunits.trust.describe import describe_staged
from workunits.trust.folder import write_file
from workunits.trust.keys import is_encrypted, load_signer
from workunits.trust.staged import Staged


class Command(TrustCommand):
    """Without `--key` it only shows the change."""

    help = "Show a staged change and sign it with one key."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("staged", type=Path, help=STAGED_HELP)
        parser.add_argument("--key", type=Path, metavar="PEM", help="sign with it; without, the change is only shown")

    def run(self, options: dict[str, Any]) -> None:
        path, key = options["staged"], options["key"]
        staged = Staged.read(path)
        if key is not None:
            staged.sign(load_signer(key, password=read_password(key) if is_encrypted(key) else None))
            write_file(path, staged.to_bytes(), mode=0o644)  # a full stick must not cost the signatures it had
        for line in describe_staged(staged):
            self.stdout.write(line)
