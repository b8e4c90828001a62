"""What the car itself says: may its computer be used now, and if not, why. One module a source."""
