"""Benchmarks: `python -m bench NAME [options] --json` runs one; `python -m bench` runs all with their defaults.

A benchmark is a module with two functions, listed in `bench.__main__.BENCHMARKS`:

    def add_arguments(parser: argparse.ArgumentParser) -> None    its options
    def run(options: argparse.Namespace) -> dict[str, object]     what it measured; prints nothing on standard output

Each starts its own services in a folder that is removed afterwards.
"""

import os

# onnxruntime sends reports over the network otherwise, from a thread that its import starts.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
