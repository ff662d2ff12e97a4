"""Features, data sets, and estimators that are asked for predictions."""
