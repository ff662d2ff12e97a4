"""``python -m launch``: what `make run` starts; ``python -m launch token``: who may ask it over HTTP."""

from __future__ import annotations

import signal
import sys

# Nothing is started yet: until the run takes its signals, Ctrl-C ends this process and says nothing.
signal.signal(signal.SIGINT, signal.SIG_DFL)

if sys.argv[1:2] == ["token"]:
    from launch import tokens

    sys.exit(tokens.main(sys.argv[2:]))

from launch.supervisor import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
