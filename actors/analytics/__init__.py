"""Figures of factors: how their returns did, how crowded they are, what a score was worth."""
