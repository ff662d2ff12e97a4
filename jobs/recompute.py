"""``python -m jobs.recompute --model M``: make the results of a period again, in blocks, beside the live actors.

What is made lies in a folder as Parquet parts, which one manifest commits: scores, factor returns, covariances,
specific risk, factors of the library, attributions of the stored books. All of it is what the engine gave online, to
the bit. A run that was ended is submitted again: it makes what is missing. With names of models alone
(``python -m jobs.recompute MODEL ...``) each is fitted anew and becomes a new version; see `jobs.refit`.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from contracts.errors import EngineError, InvalidInput, ModelUnreadable, UnknownModel, VersionConflict, first_line
from contracts.settings import Settings, settings
from factors.errors import FactorError
from jobs.chains import run_chain
from jobs.events import JobEvents
from jobs.parts import Results
from jobs.plan import Plan, describe, make_plan
from jobs.progress import Progress
from jobs.results import open_results
from jobs.source import Place, StoredSource, open_source
from jobs.work import WHAT, Work
from jobs.workers import Inline, Workers

ATTEMPTS = 5
"""How often the work is planned again when the model's days change meanwhile, before the job gives up."""
HELD_S = 0.2


def recompute(work: Work, progress: Progress, workers: Workers | None = None) -> dict[str, Any]:
    """Make what is missing of a work and commit it; gives the manifest.

    Parameters
    ----------
    workers
        What runs the chains; default: this process.

    Raises
    ------
    EngineError, FactorError, OSError
        What is wrong with the work, the data or the place of the results; nothing is committed then.
    """
    current = settings()
    results = open_results(work, current)
    results.begin()
    with _held(results.scratch, progress):
        _only_its_own(results, work)
        for _ in range(ATTEMPTS):
            progress.stage("planning")
            head, plan, told = _planned(work, current)
            gone = None
            try:
                _run(plan, results, progress, workers or Inline())
            except (UnknownModel, ModelUnreadable) as error:  # the version that is read may be retired meanwhile
                gone = error
            if _unchanged(work, current, head):
                if gone is not None:
                    raise gone
                return _commit(plan, told, results, progress)
            progress.say(f"model {work.model_id} changed meanwhile: what follows from the change is made again")
    raise VersionConflict(f"the history of model {work.model_id!r} changed {ATTEMPTS} times while it was recomputed")


def _only_its_own(results: Results, work: Work) -> None:
    """Refuse a place that holds the results of another work: its manifest would go, and then its parts."""
    try:
        held = results.manifest()
    except ValueError as error:
        raise InvalidInput(f"the manifest in {results.name} cannot be read: {error}", field="out") from None
    if held is not None and work.said != held.get("work") and work.job_id != held.get("job_id"):
        other = held.get("job_id")
        raise InvalidInput(f"{results.name} holds the results of {other}: name another place", field="out")


def _planned(work: Work, current: Settings) -> tuple[int | None, Plan, dict[str, Any]]:
    source = open_source(Place(work, None), current)
    number = source.version.manifest.version if isinstance(source, StoredSource) else None
    plan = make_plan(work, Place(work, number), source, current)
    return number, plan, describe(plan, source, work)


def _unchanged(work: Work, current: Settings, number: int | None) -> bool:
    """Say whether the days are still those that were planned with."""
    if number is None:
        return True
    source = open_source(Place(work, None), current)
    assert isinstance(source, StoredSource)
    return source.version.manifest.version == number


def _run(plan: Plan, results: Results, progress: Progress, workers: Workers) -> None:
    slots = plan.slots()
    progress.begin(slots, results)
    waiting = [
        chain
        for chain in plan.chains
        if not all(results.is_made(plan.slot(what, chain, block)) for block in plan.wanted for what in chain.what)
    ]
    # The longest first, so that the others fill what it leaves.
    waiting.sort(key=lambda chain: len(chain.ids) or 1000, reverse=True)
    seconds = workers.run(run_chain, [(plan, chain) for chain in waiting], progress.look)
    progress.chains |= {chain.name: took for chain, took in zip(waiting, seconds, strict=True)}
    progress.look(force=True)


def _commit(plan: Plan, told: dict[str, Any], results: Results, progress: Progress) -> dict[str, Any]:
    progress.stage("committing")
    work = plan.place.work
    parts = list(results.notes(plan.slots()).values())
    missing = len(plan.slots()) - len(parts)
    if missing:
        raise InvalidInput(f"{missing} parts were removed from {results.name} while the job ran", field="out")
    plain = [{name: value for name, value in part.items() if name != "seconds"} for part in parts]
    manifest = {"job_id": work.job_id, "work": work.said, **told, "parts": plain}
    results.commit(manifest)
    progress.done(parts)
    return manifest


@contextlib.contextmanager
def _held(folder: Path, progress: Progress) -> Iterator[None]:
    """Wait until no other run works in the folder, and hold it; the kernel frees it when its holder dies."""
    with (folder / ".lock").open("a") as lock:
        told = False
        while True:
            try:
                fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    progress.say("the same work is under way in another process; waiting for it")
                    told = True
                time.sleep(HELD_S)
        yield


def work_of(options: argparse.Namespace) -> Work:
    """Make the work of the words of a command line. Raises `InvalidInput`."""
    return Work(
        options.model,
        options.start,
        options.end,
        tuple(options.what.split(",")),
        tuple(name for name in (options.factors or "").split(",") if name),
        options.data,
        options.out,
        options.settings,
    )


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    made = argparse.ArgumentParser(prog="jobs.recompute", description=(__doc__ or "").splitlines()[0])
    made.add_argument("models", nargs="*", metavar="MODEL", help="fit these anew, each as a new version")
    made.add_argument("--model", help="whose results are made again")
    made.add_argument("--start", metavar="DATE", help="first day wanted; default: the first of the data")
    made.add_argument("--end", metavar="DATE", help="last day wanted; default: the last of the data")
    made.add_argument("--what", default=",".join(WHAT), metavar="A,B,...", help=f"of {', '.join(WHAT)}")
    made.add_argument("--factors", metavar="A,B,...", help="of the library; default: all that the data can compute")
    made.add_argument(
        "--data", metavar="URI", help="Parquet, a folder of it, csv, Delta or Iceberg; default: the model's"
    )
    made.add_argument(
        "--out", metavar="URI", help="for the results, a folder or s3://...; default: recomputed/ID in the store"
    )
    made.add_argument("--settings", type=orjson.loads, default={}, metavar="JSON", help="settings to change")
    made.add_argument("--request-id", default=None, help="of a fit anew: repeat it to repeat the job safely")
    made.add_argument("--workers", type=int, default=None, help="chains at once; 0: one after the other, without help")
    return made


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; the exit code is 0 only when everything is committed."""
    made = parser()
    options = made.parse_args(arguments)
    if not isinstance(options.settings, dict):
        made.error("--settings must be a JSON object")
    if options.models and options.model:
        made.error("--model, or names of models to fit anew")
    if options.models:
        from jobs.refit import refit

        return refit(options.models, options.settings, options.request_id)
    if not options.model:
        made.error("--model must name a model")
    progress = Progress()
    with contextlib.ExitStack() as opened:
        try:
            workers = _workers(options.workers)
            opened.callback(workers.close)
            events = JobEvents()
            opened.callback(events.close)
            progress.tell_to(events)
            if events.trouble is not None:
                progress.say(f"peers are not told of the job: {events.trouble}")
            work = work_of(options)
            progress.of(work)
            recompute(work, progress, workers)
        except (EngineError, FactorError, OSError) as error:
            progress.failed(_reason(error))
            return 1
    return 0


def _workers(most: int | None) -> Workers:
    """Give Ray's tasks where the environment sends this process to a cluster, as a submitted job's, else processes."""
    if most == 0:
        return Inline()
    if "RAY_ADDRESS" in os.environ:
        from jobs.ray_workers import RayWorkers

        return RayWorkers(most)
    from jobs.processes import Processes

    return Processes(most)


def _reason(error: Exception) -> str:
    field = getattr(error, "field", None)
    return f"{first_line(error)}{f' (field: {field})' if field else ''}"


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
