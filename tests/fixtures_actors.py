"""Actors as plain objects: started, and asked as their queue does."""

from contracts.errors import EngineError


def start(kind):
    actor = kind()
    assert actor._ready.wait(120)
    assert actor._state == "READY", actor._reason
    return actor


def ask(method, request):
    """Ask one thing, as the actor's queue does."""
    answer = method([request])[0] if getattr(method, "batched", False) else method(request)
    if isinstance(answer, EngineError):
        raise answer
    return answer
