"""The owner's rules, and the one pure function that says whether the car may compute now. No clock, no I/O.

There are two copies of this package, the vehicle client's and the one for the server's owner pages, because neither
imports the other. They differ in their imports and in `errors.py`; `tests/contract/rules/` pins what both decide.
"""
