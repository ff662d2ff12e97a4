"""``python -m launch``: what `make run` starts; with a word behind it, the command `factor-engine`."""

from __future__ import annotations

import signal
import sys

# Nothing is started yet: until the run takes its signals, Ctrl-C ends this process and says nothing.
signal.signal(signal.SIGINT, signal.SIG_DFL)

if sys.argv[1:] and not sys.argv[1].startswith("-"):
    from launch.command.main import entry

    entry()

from launch.supervisor import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
