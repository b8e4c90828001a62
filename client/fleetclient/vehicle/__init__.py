"""What the car itself says, in twelve signals: one module a source, and nothing of where the car is."""
