"""A deprecated call by newsimg itself fails in its tests; one within another library does not."""

import warnings

import pytest


def warn(category, module):
    warnings.warn_explicit("goes away", category, "file.py", 1, module=module)


@pytest.mark.parametrize("category", [DeprecationWarning, PendingDeprecationWarning, FutureWarning])
@pytest.mark.parametrize(
    "module", ["newsimg.storage.models.checkpoints", "newsimg.engine.ray", "newsimg"]
)
def test_what_newsimgs_own_lines_are_warned_of_fails(category, module):
    with pytest.raises(category, match="goes away"):
        warn(category, module)


def test_what_other_libraries_lines_are_warned_of_does_not():
    warn(DeprecationWarning, "ray.data.dataset")
