"""`pytest -n 2`: two processes, a thread each. All pages stay in one of them, in their order."""

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported, here and in subprocesses
    os.environ.setdefault("OMP_NUM_THREADS", "1")

INDEPENDENT_MODULES = ("test_pages_run", "test_pages_on_a_gpu")  # their tests may be separated


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """-> a scheduler that gives a process all pages, or the tests of a module."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = Path(nodeid.split("::")[0])
            if path.suffix == ".ipynb":
                return "pages"
            return nodeid if path.stem in INDEPENDENT_MODULES else path.stem

    return Scheduler(config, log)
