"""What actors do with books: risk, scenarios, attribution, construction, storage."""
