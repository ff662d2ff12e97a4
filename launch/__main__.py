"""``python -m launch``: what `make run` starts."""

from __future__ import annotations

import signal
import sys

# Nothing is started yet: until the run takes its signals, Ctrl-C ends this process and says nothing.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from launch.supervisor import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
