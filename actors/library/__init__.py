"""The factor library as actors hold it: live state of a model, formulas, tables."""
