"""Client updates: a signed wheel, unpacked beside the installed client, tried, and kept or taken back.

`updater` (what the agent calls) decides and prepares; `launcher` (what starts the agent) tries and takes back. They
speak through the files of `folder`. The signature is the business of `fleetclient.trust`.
"""
