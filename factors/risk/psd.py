"""Symmetric positive semidefinite matrices."""

import numpy as np

from factors.risk.arrays import FloatArray


def symmetrize(matrix: FloatArray) -> FloatArray:
    """Return the exactly symmetric part of `[K, K]`."""
    return 0.5 * (matrix + matrix.T)


def from_spectrum(eigenvalues: FloatArray, eigenvectors: FloatArray) -> FloatArray:
    """Return `U diag(max(d, 0)) U'`, exactly symmetric.

    Parameters
    ----------
    eigenvalues
        `[K]`.
    eigenvectors
        `[K, K]`, columns.
    """
    half = eigenvectors * np.sqrt(np.maximum(eigenvalues, 0.0))
    return symmetrize(half @ half.T)


def nearest_psd(matrix: FloatArray) -> FloatArray:
    """Return the positive semidefinite matrix nearest to a symmetric one, with the variances kept.

    Negative eigenvalues are set to zero (the nearest matrix in the Frobenius norm; Higham 1988) and the result is
    rescaled to the variances of `matrix`. A matrix that is already positive semidefinite comes back unchanged.
    """
    symmetric = symmetrize(matrix)
    eigenvalues, eigenvectors = np.linalg.eigh(symmetric)
    if eigenvalues.size == 0 or eigenvalues[0] >= 0.0:
        return symmetric
    clipped = from_spectrum(eigenvalues, eigenvectors)
    variances = np.diag(clipped)
    scale = np.sqrt(np.divide(np.diag(symmetric), variances, out=np.zeros_like(variances), where=variances > 0.0))
    return symmetrize(clipped * scale[:, None] * scale[None, :])
