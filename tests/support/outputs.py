"""What the outputs of tests are."""

import pytest

s3_with_the_faults = pytest.mark.parametrize(
    "out_url",
    ["local", pytest.param("s3", marks=[pytest.mark.s3, pytest.mark.faults])],
    indirect=True,
)
"""For a long test: on a local output always, on S3 only with ``make test-faults``."""
