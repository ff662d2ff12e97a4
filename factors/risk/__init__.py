"""Building blocks of the risk model: one step per file, composed in `factors.covariance` and `factors.specific`."""
