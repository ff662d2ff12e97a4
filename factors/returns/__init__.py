"""Factor returns: cross-sectional regressions, date by date."""
