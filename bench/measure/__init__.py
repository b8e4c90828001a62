"""What every benchmark measures with: processor time, statements, percentiles, the machine, and a table for people."""
