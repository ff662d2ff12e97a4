"""Running a compiled library: over a history, and day by day."""
