"""Who may say what a car runs: the fleet's repository (TUF), checked beside the server's own word.

The agent imports only `gate`, which is small; `child` runs python-tuf in a process that lives for a second.
"""
