"""Audit after commit: how sure a batch wants to be, when a result is run again, and what follows from the outcome."""
