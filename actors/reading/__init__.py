"""How a workload gets what it computes with: slices and panels of the store, frames that were posted."""
