"""The runner: a child process that holds onnxruntime, and the agent's handle on it.

`process` (the handle), `jobs` and `pipes` are imported by the agent; `child`, `compute`, `confinement` and
`simulation` only ever run in the child.
"""
