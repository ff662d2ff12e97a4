"""The engine's answers as the clients give them: those of the operations, which show themselves in a notebook.

Written by `python -m clients.generate` from the operation table; a test compares.
"""

# fmt: off

from __future__ import annotations

from clients.shown import Answer
from contracts import job_results, results


class CalculationAnswer(Answer, results.CalculationAnswer):
    """The answer of every calculating operation."""


class CalibrationPage(Answer, results.CalibrationPage):
    """What was measured of the devices."""


class DefinitionList(Answer, results.DefinitionList):
    """Definitions of the factor library and what they can compute on the data at hand."""


class EstimatorList(Answer, results.EstimatorList):
    """All registered estimators."""


class FactorDefinitionPage(Answer, results.FactorDefinitionPage):
    """One factor of the library, or one registered formula."""


class JobList(Answer, job_results.JobList):
    """All jobs, the newest first."""


class JobLog(Answer, job_results.JobLog):
    """What a job printed."""


class JobPage(Answer, job_results.JobPage):
    """A job: how far it is, and what came of it."""


class LanguageTable(Answer, results.LanguageTable):
    """What a formula may be written with: operators, and names of fields, groups, derived and shared values."""


class LivePage(Answer, results.LivePage):
    """A model's running day."""


class ModelAnswer(Answer, results.ModelAnswer):
    """The answer of an operation that makes or removes a version."""


class ModelList(Answer, results.ModelList):
    """All models, and apart from them those that cannot be read."""


class ModelQuality(Answer, results.ModelQuality):
    """What looked wrong in the data of a model's newest version."""


class ModelStatus(Answer, results.ModelStatus):
    """A model at its newest version."""


class PortfolioList(Answer, results.PortfolioList):
    """All stored portfolios."""


class PortfolioPage(Answer, results.PortfolioPage):
    """A stored portfolio with its holdings."""


class RoutingPage(Answer, results.RoutingPage):
    """Where a workload of some size would be computed, and why."""


class VersionList(Answer, job_results.VersionList):
    """The kept versions of a model, the newest first."""


class WatchList(Answer, results.WatchList):
    """All watches with their cost."""


class WatchPage(Answer, results.WatchPage):
    """A watch: what it watches, how far it is, and what it costs."""
