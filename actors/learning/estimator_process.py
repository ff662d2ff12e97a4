"""The process that an estimator's file is loaded in: ``python -m actors.learning.estimator_process MEMORY_MB PARENT``.

The file is somebody else's, and what it says reaches compiled code. So it is loaded where it can end nobody else: in a
process that is held to its memory, writes no file, and is told nothing of the engine. What comes back is JSON and plain
numbers, never a pickle, which could do in the engine what the file could not.

A message, either way, is two lengths, then a JSON object, then bytes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import sys
import threading
import time
import warnings
import zipfile
from typing import Any, BinaryIO

HEAD = struct.Struct("<QQ")
UNPACKED_BYTES = 1024 * 2**20
"""What the members of a file may have together when they are unpacked."""
PACKAGES = ("sklearn.", "numpy.", "scipy.")
"""Types of others are never loaded, whoever trusts them: a caller copies the names from the refusal."""
PARENT_S = 0.5
PARITY = 1e-9
"""How far a network that was read off an estimator may be from it, of the largest prediction; both in float64."""


class Refused(Exception):
    """What is wrong with a file or with what is asked of it, and the field of the request that has it."""

    def __init__(self, detail: str, field: str = "estimator") -> None:
        super().__init__(detail)
        self.field = field


def load(content: bytes, trusted: list[str], features: list[str], form: str) -> tuple[Any, dict[str, Any], bytes]:
    """Load an estimator and try it out; gives it, what it is, and its network where it is one of dense layers."""
    if form == "onnx":
        return _of_onnx(content, features)
    estimator, told = _of_skops(content, trusted, features)
    return estimator, told, _network_of(estimator)


def _of_onnx(content: bytes, features: list[str]) -> tuple[Any, dict[str, Any], bytes]:
    from actors.learning.onnx_network import NotDenseError, read_network

    try:
        network, made_by = read_network(content)
    except NotDenseError as error:
        raise Refused(str(error)) from None
    if network.n_inputs != len(features):
        raise Refused(f"it takes {network.n_inputs} columns, and {len(features)} features are named", "features")
    told = {"kind": "onnx.ModelProto", "allows_missing": False, "saved_by": made_by}
    return network, told, network.to_bytes()


def _network_of(estimator: Any) -> bytes:
    """Give a network of dense layers as any device can compute it; nothing of others, or where it differs."""
    import numpy as np

    from actors.learning.sklearn_network import network_of
    from factors.errors import FactorError

    try:
        network = network_of(estimator)
        if network is None:
            return b""
        rows = network.drawn()
        right, own = predicted(estimator, rows), network.predict(rows)[:, 0]
    except (FactorError, Refused):  # its numbers are none: scikit-learn says what it says
        return b""
    scale = float(np.abs(right).max(initial=0.0)) or 1.0
    return network.to_bytes() if float(np.abs(own - right).max(initial=0.0)) <= PARITY * scale else b""


def _of_skops(content: bytes, trusted: list[str], features: list[str]) -> tuple[Any, dict[str, Any]]:
    import skops.io as sio

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except zipfile.BadZipFile:
        raise Refused("it is no file of skops, which is a zip archive") from None
    if unpacked > UNPACKED_BYTES:
        raise Refused(f"unpacked it has {unpacked:,} bytes; at most {UNPACKED_BYTES:,} are read")
    strange = [name for name in trusted if not name.startswith(PACKAGES)]
    if strange:
        raise Refused(f"types of scikit-learn, numpy and scipy only can be trusted: {strange[0]!r}", "trusted")
    try:
        asked = sio.get_untrusted_types(data=content)
        missing = [name for name in asked if name not in trusted]
        if missing:
            raise Refused(_untrusted(missing), "trusted")
        estimator = sio.loads(content, trusted=trusted)
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001  whatever it is, it is the file's
        raise Refused(f"it cannot be loaded: {type(error).__name__}: {_short(error)}") from None
    return estimator, _described(estimator, features)


def _untrusted(missing: list[str]) -> str:
    foreign = [name for name in missing if not name.startswith(PACKAGES)]
    if foreign:
        return f"it holds types that are never loaded here: {', '.join(foreign[:10])}"
    return f"it holds types that skops does not trust by itself: {', '.join(missing[:10])}; name them if you do"


def _described(estimator: Any, features: list[str]) -> dict[str, Any]:
    from sklearn.base import BaseEstimator
    from sklearn.utils import get_tags

    kind = type(estimator)
    if not isinstance(estimator, BaseEstimator) or not hasattr(estimator, "predict"):
        raise Refused(f"it holds a {kind.__module__}.{kind.__qualname__}, which predicts nothing")
    own = getattr(estimator, "feature_names_in_", None)
    if own is not None and list(map(str, own)) != features:
        raise Refused(f"it was fitted on the columns {', '.join(map(str, own))}, in this order", "features")
    width = getattr(estimator, "n_features_in_", len(features))
    if width != len(features):
        raise Refused(f"it was fitted on {width} columns, and {len(features)} features are named", "features")
    import numpy as np

    predicted(estimator, np.zeros((2, len(features))))
    return {
        "kind": f"{kind.__module__}.{kind.__qualname__}",
        "allows_missing": bool(get_tags(estimator).input_tags.allow_nan),
        "saved_by": str(getattr(estimator, "_sklearn_version", None) or vars(estimator).get("_sklearn_version", "")),
    }


def predicted(estimator: Any, matrix: Any) -> Any:
    """Predict, float64 [n_rows]."""
    import numpy as np

    try:
        values = np.asarray(estimator.predict(matrix), dtype=np.float64)
    except Exception as error:  # noqa: BLE001  whatever it is, it is the file's
        raise Refused(f"it does not predict numbers: {type(error).__name__}: {_short(error)}") from None
    if values.size != len(matrix):
        raise Refused(f"it gives {values.size} numbers for {len(matrix)} rows; it must give one for each")
    return values.reshape(len(matrix))


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Do one task after another until the parent closes the pipe."""
    import numpy as np

    estimator: Any = None
    while True:
        head = source.read(HEAD.size)
        if len(head) < HEAD.size:
            return
        n_told, n_bytes = HEAD.unpack(head)
        task = json.loads(source.read(n_told))
        content = source.read(n_bytes)
        body = b""
        try:
            if task["do"] == "load":
                estimator, told, body = load(content, task["trusted"], task["features"], task["form"])
            else:
                matrix = np.frombuffer(content, "<f8").reshape(task["shape"])
                told, body = {}, predicted(estimator, matrix).astype("<f8").tobytes()
        except Refused as error:
            told = {"refused": str(error), "field": error.field}
        except MemoryError:
            told = {"refused": "it takes more memory than an estimator may have", "field": "estimator"}
        text = json.dumps(told).encode()
        sink.write(HEAD.pack(len(text), len(body)) + text + body)
        sink.flush()


def _limit(memory_mb: int) -> None:
    import resource

    for what, most in (
        (resource.RLIMIT_DATA, memory_mb * 2**20),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (most, most))


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_S)
    os._exit(0)


def main(arguments: list[str]) -> None:
    """Load and predict until the parent is gone."""
    memory_mb, parent = map(int, arguments)
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not end up in an answer
    threading.Thread(target=_watch, args=(parent,), daemon=True, name="watch the parent").start()
    warnings.simplefilter("ignore")
    import skops.io  # noqa: F401  loaded before the limits

    _limit(memory_mb)
    serve(sys.stdin.buffer, sink)


if __name__ == "__main__":
    main(sys.argv[1:])
