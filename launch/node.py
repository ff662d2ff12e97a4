"""``python -m launch.node --head HOST``: join a Ray cluster as a node that offers the devices it really has."""

from __future__ import annotations

import sys

from engine.node import main

if __name__ == "__main__":
    main(sys.argv[1:])
