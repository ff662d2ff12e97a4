"""The formula language: grammar, operators, names, conventions, limits, errors."""
