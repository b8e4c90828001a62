"""The FleetCompute vehicle client.

A small agent process talks to the server and keeps the journal; a child process, the runner, holds onnxruntime.
Importing this package imports neither numpy nor onnxruntime: the agent must stay small while the car is idle.
"""

import os

# Official builds of onnxruntime report their use to their maker from the moment of import, with a number for this
# computer that they leave in the home folder. It is read once, so it is set here, before anything can import it, for
# every process of the client and all their children.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"
