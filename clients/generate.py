"""Write the clients' typed methods and answers from the operation table: ``python -m clients.generate``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ValidationError

from contracts.operations import OPERATIONS, Operation
from contracts.requests import Empty, ModelRef

PAGE = Path(__file__).with_name("methods.py")
ANSWERS = Path(__file__).with_name("answers.py")
_ANSWERS_HEAD = '''\
"""The engine's answers as the clients give them: those of the operations, which show themselves in a notebook.

Written by `python -m clients.generate` from the operation table; a test compares.
"""

# fmt: off

from __future__ import annotations

from clients.shown import Answer
from contracts import {modules}
'''
_HEAD = '''\
"""The operations as methods, the same over HTTP and over NATS.

Written by `python -m clients.generate` from the operation table; a test compares.
"""

# fmt: off

from __future__ import annotations

{imports}


class Surface(Connection):
    """The engine's operations. Every method raises the `EngineError` that the engine answered with."""
'''


def answers(rows: Iterable[Operation] = tuple(OPERATIONS.values())) -> str:
    """Give the text of the module with the answers."""
    kinds = {row.result.__name__: row.result for row in rows}
    modules = sorted({kind.__module__.removeprefix("contracts.") for kind in kinds.values()})
    return _ANSWERS_HEAD.format(modules=", ".join(modules)) + "".join(
        f'''

class {name}(Answer, {kinds[name].__module__.removeprefix("contracts.")}.{name}):
    """{(kinds[name].__doc__ or name).strip().splitlines()[0]}"""
'''
        for name in sorted(kinds)
    )


def source(rows: Iterable[Operation] = tuple(OPERATIONS.values())) -> str:
    """Give the module's text; a table that comes in bulk has a method of its own in `HttpEngine`."""
    shown = [row for row in rows if not row.bulk]
    kinds: dict[str, set[str]] = {}
    for row in shown:
        kinds.setdefault(row.request.__module__, set()).add(row.request.__name__)
        kinds.setdefault("clients.answers", set()).add(row.result.__name__)
    lines = {
        module: f"from {module} import (\n" + "".join(f"    {name},\n" for name in sorted(names)) + ")"
        for module, names in kinds.items()
    }
    lines["clients.surface"] = "from clients.surface import ANYHOW, Connection, How"
    lines["contracts.operations"] = "from contracts.operations import OPERATIONS"
    imports = "\n".join(lines[module] for module in sorted(lines))
    return _HEAD.format(imports=imports) + "".join(map(_method, shown))


def _method(row: Operation) -> str:
    """Write a method: without arguments, with a model's id, or with a request, which may be left out if it can be."""
    name, request, answer = row.name, row.request.__name__, row.result.__name__
    if row.request is Empty:
        parameter, given = "", f"{request}()"
    elif row.request is ModelRef:
        parameter, given = "model_id: str, ", f"{request}(model_id=model_id)"
    elif _may_be_empty(row.request):
        parameter, given = f"request: {request} | None = None, ", f"request or {request}()"
    else:
        parameter, given = f"request: {request}, ", "request"
    return f'''
    async def {name}(self, {parameter}how: How = ANYHOW) -> {answer}:
        """{row.summary}"""
        return await self.ask(OPERATIONS["{name}"], {given}, {answer}, how)
'''


def _may_be_empty(request: type[BaseModel]) -> bool:
    try:
        request()
    except ValidationError:
        return False
    return True


if __name__ == "__main__":
    ANSWERS.write_text(answers())
    PAGE.write_text(source())
