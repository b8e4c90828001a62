"""The agent: one loop that watches the car, talks to the server, and keeps the runner busy.

`loop` is one pass; `exchange` builds a sync and applies its answer; `absence` decides what to keep when the car
leaves; `workshop` minds the runner; `background` runs network calls; `service` puts it all together.
"""
