"""Pages with short trainings, for tests of all but the quality of their faces."""

import re

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
    r"sizes = \[\(8, 32\), .*\]": "sizes = [(8, 8)]",  # page 10's widths and batches
    r"\(2048, 4096, 8192\)": "(256,)",
    r"\brounds=7\b": "rounds=1",
    r"samples=4000": "samples=300",
    r'"animefacedataset" if has_gpu [^\n]*else None': "None",
}


def shorten(notebook):
    """Fewer steps in a page's trainings."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for pattern, shorter in SHORTER.items():
                cell.source = re.sub(pattern, shorter, cell.source)


def unexpected_errors(notebook):
    """-> what stopped a cell, but for assertions about faces: short trainings make bad ones."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    stopped = [output for output in outputs if output.output_type == "error"]
    return [
        f"{error.ename}: {error.evalue}" for error in stopped if error.ename != "AssertionError"
    ]
