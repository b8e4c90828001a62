"""From an exception in the runner to one of the wire's error reasons and a line for the log."""

from __future__ import annotations

import errno

DETAIL_CHARS = 300
# onnxruntime reports a refused allocation as an ordinary error; only its text tells.
_MEMORY_WORDS = ("bad_alloc", "failed to allocate", "cannot allocate", "out of memory", "std::length_error")
_ERRNO_REASONS = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EFBIG: "output_too_large",
    errno.ENOMEM: "out_of_memory",
}


class OutputTooLarge(Exception):
    """The output is over the contract's `output_bytes_max`."""


def reason_of(error: Exception, otherwise: str) -> str:
    """Return the wire's reason for a failure; `otherwise` where nothing more precise is known."""
    words = str(error).lower()
    if isinstance(error, MemoryError) or any(word in words for word in _MEMORY_WORDS):
        return "out_of_memory"
    if isinstance(error, OutputTooLarge):
        return "output_too_large"
    if isinstance(error, OSError):
        return _ERRNO_REASONS.get(error.errno or 0, otherwise)
    return otherwise


def detail_of(error: Exception) -> str:
    """Return the error in a text of bounded length that can be encoded, whatever a model's names put into it."""
    words = f"{type(error).__name__}: {error}"[:DETAIL_CHARS]
    return words.encode("utf-8", "replace").decode()
