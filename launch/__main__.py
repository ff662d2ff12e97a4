"""``python -m launch``: what `make run` starts."""

from __future__ import annotations

import os
import sys

from launch.foreground import main

code = main(sys.argv[1:])
sys.stdout.flush()
sys.stderr.flush()
# All is ended. A Ray whose start was cut off by a signal can crash while its libraries are unloaded.
os._exit(code)
