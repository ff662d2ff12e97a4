"""One actor class per workload."""
