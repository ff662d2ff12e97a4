"""From formulas to a plan: graph, lowering to operations, common parts found once."""
