"""What holds for the pages' tests, also for those of a single page: they leave `data/` alone."""

import tempfile

import pytest

DATA = tempfile.TemporaryDirectory(prefix="animegan-data-")  # for all pages of this process


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """A page's kernel has another data folder, and the synthetic faces, as for a beginner."""
    if item.path.suffix != ".ipynb":
        return (yield)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANIMEGAN_DATA_FOLDER", DATA.name)
        patch.delenv("ANIMEGAN_DATA", raising=False)
        return (yield)
