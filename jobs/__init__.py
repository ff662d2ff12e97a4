"""Entry points for ``ray job submit`` and the command line.

What stands here is in force before anything of this package loads polars, whose allocator reads its settings once.
"""

import os

os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:10000")
"""How long polars keeps freed memory. After half a second, its default, what a block's part was written from is gone
when the next block's is, and the system clears fresh pages for each part: a twentieth of a group's time."""
