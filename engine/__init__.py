"""What a start stands on: Ray, nats-server, the run directory, processes, ports, and the market to load.

`engine.start` puts them together. Nothing is imported here: Ray reads its environment when it is imported, so what sets
that environment (`engine.cluster`) must be importable first.
"""
