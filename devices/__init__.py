"""The same kernels on CPU, Metal (MLX) and Neural Engine (Core ML), their detection and the choice between them."""
