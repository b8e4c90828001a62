"""HTTP interfaces for cars, researchers and programs."""
