"""Arrays over dates and assets: kernels, windows, weights, threads."""
