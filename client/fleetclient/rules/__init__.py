"""The owner's rules, and the one pure function that says whether the car may compute now. No clock, no I/O.

The server's owner pages have a copy of this package, pinned by the golden cases in `tests/contract/rules/`.
"""
