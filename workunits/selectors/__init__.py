"""Reads for the interfaces: what researchers, owners and operators are shown. Nothing here writes."""
