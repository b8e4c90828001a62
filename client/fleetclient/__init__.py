"""The FleetCompute vehicle client.

A small agent process talks to the server and keeps the journal; a child process, the runner, holds onnxruntime.
Importing this package imports neither numpy nor onnxruntime: the agent must stay small while the car is idle.
"""

__version__ = "0.1.0"
