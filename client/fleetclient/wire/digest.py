"""The digest a car commits to before it shows its output."""

from __future__ import annotations

import hashlib


def output_digest(salt_hex: str, output: bytes | memoryview) -> str:
    """Return SHA-256 over the salt's 16 raw bytes and then the output document, in hexadecimal.

    The salt belongs to one lease, so that a digest seen elsewhere cannot be copied.
    """
    digest = hashlib.sha256(bytes.fromhex(salt_hex))
    digest.update(output)
    return digest.hexdigest()
