"""The researcher's API, `/api/v1/`: models, datasets, batches, progress, units, results."""
