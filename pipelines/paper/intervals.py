"""How sure a mean of paired differences is, over folds and seeds."""

import numpy as np
import numpy.typing as npt
from scipy import stats

FloatArray = npt.NDArray[np.float64]


def half_width(differences: FloatArray, test_share: float, confidence: float = 0.95) -> float:
    """Half the width of the confidence interval around the mean of differences.

    The corrected resampled t interval. Folds share most of their training clips, and seeds share
    all, so that differences are not independent, and the variance of their mean is not s² / n but
    about s² (1 / n + n_test / n_train) (Nadeau and Bengio, Machine Learning 52, 2003). It is taken
    with n - 1 degrees of freedom, as for repeated cross-validation (Bouckaert and Frank, PAKDD
    2004).

    Parameters
    ----------
    differences : (n,) one for each fold and seed
    test_share : n_test / n_train; 0 gives the plain t interval

    Returns
    -------
    NaN for fewer than two differences
    """
    n = len(differences)
    if n < 2:
        return float("nan")
    spread = np.sqrt(differences.var(ddof=1) * (1 / n + test_share))
    return float(stats.t.ppf(0.5 + confidence / 2, n - 1) * spread)
