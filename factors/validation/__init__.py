"""Out-of-sample validation of the risk model: how predicted risk compares with what happened."""
