"""Django settings: `development` (the default), `test` and `production`, all built on `base`.

`env` is the only place that reads the environment; `engine` holds the engine's policy numbers.
"""
