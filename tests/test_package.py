"""The whole package: its order, its size, its manners."""

import ast
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import animegan_helpers

PACKAGE = Path(animegan_helpers.__file__).parent
PROJECT = PACKAGE.parent
# Each module may import those before it, none after it.
ORDER = """checks device drawn download preprocess layers discriminator generator recipes checkpoints plotting
    fast parallel training measure latent widgets share __main__""".split()
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def tree(module):
    return ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))


def imported(module):
    """-> the package's modules that a module imports."""
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("animegan_helpers")):
            base = (node.module or "").removeprefix("animegan_helpers").lstrip(".")
            found |= {base} if base else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name.partition(".")[2] for name in node.names if name.name.startswith("animegan_helpers.")}
    return found & set(MODULES)


def project_files():
    """What is written by hand or by a notebook: all but data, environments and caches."""
    left_out = {"data", "build", "__pycache__"}
    for folder, below, names in os.walk(PROJECT):
        below[:] = [
            n for n in below if n not in left_out and not n.endswith(".egg-info") and (n[0] != "." or n == ".github")
        ]
        yield from (Path(folder, name) for name in names)


def test_every_module_has_its_place_in_the_order():
    assert set(MODULES) <= set(ORDER)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module):
    assert imported(module) <= set(ORDER[: ORDER.index(module)])


def test_the_import_check_sees_imports():
    assert {"preprocess", "training", "recipes"} <= imported("__main__")
    assert {"device", "generator"} <= imported("training")


def test_importing_prints_nothing_writes_nothing_and_leaves_randomness_and_threads_alone(tmp_path):
    code = f"""
import importlib, os, signal, sys
import animegan_helpers
assert "torch" not in sys.modules
import numpy, random, torch
def state():
    return (random.getstate(), torch.get_rng_state().tolist(), str(numpy.random.get_state()), torch.get_num_threads(),
            signal.getsignal(signal.SIGINT), dict(os.environ), torch.get_default_dtype(), torch.is_grad_enabled())
before = state()
for module in {[m for m in MODULES if m != "__main__"]}:
    importlib.import_module("animegan_helpers." + module)
assert state() == before
assert "matplotlib.pyplot" not in sys.modules
"""
    env = os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["__init__", *MODULES])
def test_every_module_says_what_it_is_for(module):
    assert ast.get_docstring(tree(module))


def test_no_path_of_a_machine_is_written_anywhere():
    machines = re.compile(r"(?<![\w.:+/])(/(work|home|root|Users)/\w|[A-Z]:\\+Users)")
    found = []
    for path in project_files():
        if path.suffix in (".py", ".ipynb", ".md", ".toml", ".txt", ".yml", ".yaml", ".sh", ".json"):
            text = path.read_text(encoding="utf-8")
            found += [f"{path.relative_to(PROJECT)}: {match[0]}" for match in machines.finditer(text)]
    assert found == []


def test_no_file_is_over_2_megabytes():
    assert [path.name for path in project_files() if path.stat().st_size > 2_000_000] == []


def lines_of_code(text):
    """Lines that are neither blank nor a comment nor part of a docstring."""
    lines = {number for number, line in enumerate(text.splitlines(), 1) if line.strip() and line.strip()[0] != "#"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def test_the_package_stays_tiny():
    assert lines_of_code('"""Doc\n\nstring."""\n\nx = 1\n# why\n\ndef f():\n    """Doc."""\n    return 2\n') == 3
    lines = {path.stem: lines_of_code(path.read_text(encoding="utf-8")) for path in PACKAGE.glob("*.py")}
    assert lines.pop("drawn") <= 420, "brush strokes are counted apart: they are data more than code"
    assert sum(lines.values()) <= 2520


def test_the_package_is_as_new_as_it_says(tmp_path):
    """Syntax and standard library of the oldest Python that pyproject.toml promises."""
    oldest = re.search(r'requires-python = ">=3\.(\d+)"', (PROJECT / "pyproject.toml").read_text())
    later = {"hashlib.file_digest": 11, "itertools.batched": 12, "datetime.UTC": 11, "tomllib": 11}
    for path in PACKAGE.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        ast.parse(text, feature_version=(3, int(oldest[1])))
        assert not [name for name, minor in later.items() if name in text and minor > int(oldest[1])], path.name


def test_the_network_can_not_be_reached_from_tests():
    with socket.socket() as sock, pytest.raises(PermissionError, match="192.0.2.1"):
        sock.connect(("192.0.2.1", 80))
    with pytest.raises(PermissionError, match="example.org"):
        socket.create_connection(("example.org", 443))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass  # this machine can
