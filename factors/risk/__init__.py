"""Building blocks of the risk model: one step per file, composed in `covariance` and `specific`."""
