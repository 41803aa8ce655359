"""Versions of what results depend on."""

import sys

import numpy
import pyarrow
import torch

from pipelines.runtime.packages import package_versions


def test_versions_are_those_that_are_imported():
    found = package_versions()
    assert found["python"] == sys.version.split()[0]
    assert found["numpy"] == numpy.__version__
    assert found["pyarrow"] == pyarrow.__version__
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert set(found) >= {"ray", "scipy", "soundfile", "soxr", "av"}
