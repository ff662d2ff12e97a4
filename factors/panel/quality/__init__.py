"""What looks wrong in a panel: kind, rows, what it does to which numbers, and what to do."""

from factors.panel.quality.report import Finding, QualityReport

__all__ = ["Finding", "QualityReport"]
