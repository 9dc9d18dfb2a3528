"""Every page is run on a pretended GPU, with short trainings: nothing may be left on the CPU.

Three pages are run each time, all of them with --thorough.
"""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from pages import PAGES, page_id
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
SHORTER = {  # what a page says -> what it says here
    # but not page 08's set of a hundred faces
    r"(?<!faces, )\b(steps|range|total)(=|\()(100|48|24)\b": r"\g<1>\g<2>4",
    r"\b(steps|range|total)(=|\()300\b": r"\g<1>\g<2>8",  # page 07 averages eight
    r"\bsteps=1000\b": "steps=50",  # page 05's points in the plane
    r"steps=320\b": "steps=24",  # page 08 looks at the steps after the first 20
    r'"steps": 1500|"minutes": 15': '"steps": 8',
    r"minutes=0\.25": "steps=4",
    r"\bplay\((40|80|160|240)\b": "play(24",
    r"steps_done % 40\b": "steps_done % 8",  # page 08 keeps a checkpoint
    r"seconds=12\b": "seconds=0.3",
    r"\(\(8, 32\), .*\)\):": "((8, 8),):",  # page 10's widths and batches
    r"\(2048, 4096, 8192\)": "(256,)",
    r"\brounds=7\b": "rounds=1",
    r"samples=4000": "samples=300",
    r'"animefacedataset" if has_gpu else None': "None",
}


def shorten(notebook):
    """Fewer steps in a page's trainings; an exercise's networks may be on the CPU."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for pattern, shorter in SHORTER.items():
                cell.source = re.sub(pattern, shorter, cell.source)
            if "checks." in cell.source:
                cell.source += "\nnetworks_on_the_cpu.clear()"


def errors(notebook):
    """-> what stopped a cell, but for assertions about faces: short trainings make bad ones."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    stopped = [output for output in outputs if output.output_type == "error"]
    return [
        f"{error.ename}: {error.evalue}" for error in stopped if error.ename != "AssertionError"
    ]


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
    first, last = nbformat.v4.new_code_cell(START), nbformat.v4.new_code_cell(END)
    notebook.cells = [first, *notebook.cells, last]
    folder = {"metadata": {"path": str(project / "notebooks")}}
    NotebookClient(notebook, timeout=600, allow_errors=True, resources=folder).execute()
    assert first.outputs[-1].text == "gpu:0\n"
    assert errors(notebook) == []
    if page_id(path) not in FILES:
        assert last.outputs[-1].text == "[]\n"
