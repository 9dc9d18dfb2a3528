"""Every page is run on a pretended GPU, with short trainings: nothing may be left on the CPU.

Three pages are run each time, all of them with --thorough.
"""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from pages import PAGES, page_id
from shorter_pages import shorten, unexpected_errors
from test_gpu import needs_python_backend
from test_pages_run import copy_project

pytestmark = needs_python_backend

START = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import pretended_gpu
pretended_gpu.install()
networks_on_the_cpu = []
pretended_gpu.find_networks_on_the_cpu(networks_on_the_cpu)
from animegan_helpers import device
print(device.pick().device)
"""
END = "print(networks_on_the_cpu)"
USUAL = ("03", "05", "08")
FILES = {"11"}  # its networks stay on the CPU: what it writes is for machines without a GPU


def allow_exercises_on_the_cpu(notebook):
    """Networks of an exercise, or tiny ones, may be on the CPU: those of their cell don't count."""
    for cell in notebook.cells:
        is_allowed = "checks." in cell.source or "# tiny networks" in cell.source
        if cell.cell_type == "code" and is_allowed:
            before = "_counted = len(networks_on_the_cpu)"
            cell.source = f"{before}\n{cell.source}\ndel networks_on_the_cpu[_counted:]"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with the synthetic faces: a page's short runs stay out of data/runs."""
    return copy_project(tmp_path_factory.mktemp("project"))


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_a_page_runs_on_a_gpu_and_leaves_no_network_on_the_cpu(path, project, request, monkeypatch):
    if page_id(path) not in USUAL and not request.config.getoption("--thorough"):
        pytest.skip("only with --thorough")
    monkeypatch.setenv("PYTHONPATH", str(project))
    notebook = nbformat.read(path, as_version=4)
    shorten(notebook)
    allow_exercises_on_the_cpu(notebook)
    first, last = nbformat.v4.new_code_cell(START), nbformat.v4.new_code_cell(END)
    notebook.cells = [first, *notebook.cells, last]
    folder = {"metadata": {"path": str(project / "notebooks")}}
    NotebookClient(notebook, timeout=600, allow_errors=True, resources=folder).execute()
    assert first.outputs[-1].text == "gpu:0\n"
    assert unexpected_errors(notebook) == []
    if page_id(path) not in FILES:
        assert last.outputs[-1].text == "[]\n"
