"""The running day in the actor that holds it: market data read, models fed, watches answered."""
