"""Plain runs beside each other, which differ in a few settings."""
