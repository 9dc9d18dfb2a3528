"""The whole package: the order of its modules, the size of its parts, its side effects.

Each rule of the layout is a function from source text to a list of what breaks the rule. One test
applies it to the package, another one to a text that breaks it.
"""

import ast
import os
import re
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import animegan_helpers

PACKAGE = Path(animegan_helpers.__file__).parent
PROJECT = PACKAGE.parent
ORDER = """
    checks rng device files locks stop_signals drawn recipes recipe_json layers generator
    discriminator losses checkpoints image_files image_metadata images storage archives
    sources transfer download dataset findings prepare figures plotting distributed speed
    trainer history runs run_writer step_rate training judge patches precision_recall metrics
    alarms latent conditional pretrained session controls widgets web_page cards export
    recipe_table arguments commands __main__
""".split()  # a module may import only modules to its left
CORE = ["layers", "generator", "discriminator", "losses", "trainer", "training"]
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in PACKAGE.glob("*.py")}
MODULES = sorted(TEXTS.keys() - {"__init__"})
ALL_BUT_DRAWN = sorted(TEXTS.keys() - {"drawn"})  # drawn's brush strokes are data more than code

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


# ---- rules: source text -> a list of what breaks the rule ----


def imported_modules(text):
    """-> the names of the package's modules that a source imports, wherever the import stands."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                package, _, module = alias.name.partition(".")
                if package == "animegan_helpers":
                    names.add(module.split(".")[0])
        if isinstance(node, ast.ImportFrom):
            names |= _imported_from(node)
    return names & {*ORDER, *MODULES}


def _imported_from(node):
    path = (node.module or "").split(".")
    if node.level == 0:
        if path[0] != "animegan_helpers":
            return set()
        path = path[1:]
    path = [name for name in path if name]
    if path:
        return {path[0]}
    return {alias.name for alias in node.names}


def late_imports(text, module):
    """A module may import only modules that stand before it in ORDER."""
    earlier = ORDER[: ORDER.index(module)]
    return sorted(imported_modules(text) - set(earlier))


def modules_in_cycles(texts):
    """Sources by module -> the modules that import themselves, perhaps through others."""
    imports = {module: imported_modules(text) for module, text in texts.items()}
    cyclic = []
    for module in imports:
        reached = set()
        to_visit = [module]
        while to_visit:
            new = imports.get(to_visit.pop(), set()) - reached
            reached |= new
            to_visit += new
        if module in reached:
            cyclic.append(module)
    return cyclic


def long_functions(text, limit=40):
    """A function has at most 40 lines, docstring included."""
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, FUNCTION)]
    return [node.name for node in functions if node.end_lineno - node.lineno + 1 > limit]


def wide_lines(text, limit=100):
    """A line has at most 100 columns."""
    return [number for number, line in enumerate(text.splitlines(), 1) if len(line) > limit]


def surplus_lines(text, limit=250):
    """A module has at most 250 lines of any kind."""
    return text.splitlines()[limit:]


def lines_of_code(text):
    """-> the numbers of the lines that are neither blank nor a comment nor in a docstring."""
    numbers = set(lines_with_content(text))
    documented = (ast.Module, ast.ClassDef, *FUNCTION)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            numbers -= set(range(docstring.lineno, docstring.end_lineno + 1))
    return sorted(numbers)


def lines_with_content(text):
    """-> the numbers of the lines that are neither blank nor a comment."""
    lines = enumerate(text.splitlines(), 1)
    return [number for number, line in lines if line.strip() and not line.strip().startswith("#")]


def surplus_code(texts, limit=660):
    """The core has at most 660 lines of code in all."""
    lines = [number for text in texts for number in lines_of_code(text)]
    return lines[limit:]


def packed_code(texts, limit=8.5):
    """A line holds at most 8.5 nodes of the syntax tree on average: no rule is met by packing."""
    nodes = sum(1 for text in texts for _ in ast.walk(ast.parse(text)))
    lines = sum(len(lines_with_content(text)) for text in texts)
    density = nodes / lines
    return [f"{density:.2f} nodes per line"] if density > limit else []


def public_parts(text):
    """-> (name, node) of the public classes, functions and methods of a module."""
    for node in ast.parse(text).body:
        if isinstance(node, (ast.ClassDef, *FUNCTION)) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                yield from _public_methods(node)


def _public_methods(node):
    for method in node.body:
        if isinstance(method, FUNCTION) and not method.name.startswith("_"):
            yield f"{node.name}.{method.name}", method


def unannotated_arguments(text):
    """Every argument of a public function or method has an annotation (self and cls apart)."""
    missing = []
    for name, node in public_parts(text):
        if isinstance(node, ast.ClassDef):
            continue
        arguments = node.args
        all_arguments = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        all_arguments += [one for one in (arguments.vararg, arguments.kwarg) if one]
        for argument in all_arguments:
            if argument.annotation is None and argument.arg not in ("self", "cls"):
                missing.append(f"{name}({argument.arg})")
    return missing


def undocumented_parts(text):
    """The module and every public class, function and method has a docstring."""
    missing = [name for name, node in public_parts(text) if not ast.get_docstring(node)]
    if not ast.get_docstring(ast.parse(text)):
        missing.append("the module")
    return missing


def loaded_torch(text):
    """What this code imports does not load torch. It runs in a process of its own."""
    code = f"{text}\nimport sys\nprint([name for name in sys.modules if name == 'torch'])"
    return ast.literal_eval(run_python(code))


def run_python(code, cwd=None):
    """Run code in another process that finds the package; -> what it prints."""
    env = os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, ""), process.stderr
    return process.stdout


# ---- the package keeps the rules ----


def test_every_module_has_its_place_in_the_order():
    assert sorted(ORDER) == MODULES


@pytest.mark.parametrize("module", [module for module in MODULES if module in ORDER])
def test_imports_point_one_way(module):
    assert late_imports(TEXTS[module], module) == []


def test_no_module_imports_itself_through_others():
    assert modules_in_cycles(TEXTS) == []


@pytest.mark.parametrize("module", sorted(TEXTS))
def test_lines_have_at_most_100_columns(module):
    assert wide_lines(TEXTS[module]) == []


@pytest.mark.parametrize("module", ALL_BUT_DRAWN)
def test_functions_have_at_most_40_lines(module):
    assert long_functions(TEXTS[module]) == []


@pytest.mark.parametrize("module", ALL_BUT_DRAWN)
def test_modules_have_at_most_250_lines(module):
    assert surplus_lines(TEXTS[module]) == []


def test_the_core_has_at_most_660_lines_of_code():
    assert surplus_code(TEXTS[module] for module in CORE) == []


def test_lines_are_not_packed():
    assert packed_code([TEXTS[module] for module in ALL_BUT_DRAWN]) == []


@pytest.mark.parametrize("module", ALL_BUT_DRAWN)
def test_arguments_of_public_functions_are_annotated(module):
    assert unannotated_arguments(TEXTS[module]) == []


@pytest.mark.parametrize("module", sorted(TEXTS))
def test_public_parts_have_docstrings(module):
    assert undocumented_parts(TEXTS[module]) == []


def test_recipes_load_no_torch():
    assert loaded_torch("import animegan_helpers.recipes") == []


# ---- each rule is noticed when it is broken ----

DOCSTRING = '"""A module."""\n'
FORTY_LINES = "def f():\n" + "    x = 1\n" * 39
METHODS = '''
class Public:
    """A class."""

    def method(self, x: int):
        """A method."""

    def _private(self, y):
        pass


def function(a: int, *rest: int, b: int = 0, **named: int):
    """A function."""

    def nested(c):
        pass
'''
NOT_CODE = '"""Doc\n\nstring."""\n\n# why\n\ndef f():\n    """Doc."""\n    return 2\n'
GOOD_AND_BROKEN = {
    "a relative import": (
        partial(late_imports, module="generator"),
        "from .layers import up\nfrom . import recipes\nimport torch",
        "from .trainer import Trainer",
    ),
    "an import of a module from the package": (
        partial(late_imports, module="generator"),
        "from . import layers",
        "from . import plotting",
    ),
    "an absolute import": (
        partial(late_imports, module="checkpoints"),
        "import animegan_helpers.losses\nfrom animegan_helpers.rng import rng\nimport runs",
        "import animegan_helpers.runs",
    ),
    "an absolute import of a name": (
        partial(late_imports, module="checkpoints"),
        "from animegan_helpers import losses\nfrom torch import runs",
        "from animegan_helpers.runs import Run",
    ),
    "an import within a function": (
        partial(late_imports, module="images"),
        "def f():\n    from . import rng",
        "def f():\n    from . import dataset",
    ),
    "an import of itself": (
        partial(late_imports, module="images"),
        "from . import rng",
        "from . import images",
    ),
    "a cycle": (
        modules_in_cycles,
        {"runs": "from . import trainer", "trainer": "from .rng import rng", "rng": ""},
        {
            "runs": "from . import rng",
            "rng": "from . import losses",
            "losses": "from . import runs",
        },
    ),
    "a long function": (long_functions, FORTY_LINES, FORTY_LINES + "    x = 1\n"),
    "a long method": (
        long_functions,
        "class A:\n    def f(self):\n" + "        x = 1\n" * 39,
        "class A:\n    def f(self):\n" + "        x = 1\n" * 40,
    ),
    "a wide line": (wide_lines, "x" * 100, "x" * 101),
    "a long module": (surplus_lines, "\n" * 250, "\n" * 251),
    "a large core": (
        surplus_code,
        [NOT_CODE + "x = 1\n" * 328, "# why\n\n" + "x = 1\n" * 330],
        ["x = 1\n" * 330, "x = 1\n" * 331],
    ),
    "packed lines": (
        packed_code,
        ["# a comment\n\n" + "x = 1\n" * 10],
        ["x = [a * b for a, b in zip(c, d) if a or b]\n"],
    ),
    "an argument without annotation": (
        unannotated_arguments,
        METHODS,
        METHODS.replace("x: int", "x"),
    ),
    "a keyword argument without annotation": (
        unannotated_arguments,
        METHODS,
        METHODS.replace("b: int = 0", "b=0"),
    ),
    "arguments without annotation": (
        unannotated_arguments,
        METHODS,
        METHODS.replace("*rest: int", "*rest").replace("**named: int", "**named"),
    ),
    "a module without docstring": (undocumented_parts, DOCSTRING + METHODS, METHODS),
    "a class without docstring": (
        undocumented_parts,
        DOCSTRING + METHODS,
        DOCSTRING + METHODS.replace('"""A class."""', ""),
    ),
    "a method without docstring": (
        undocumented_parts,
        DOCSTRING + METHODS,
        DOCSTRING + METHODS.replace('"""A method."""', "pass"),
    ),
    "a function without docstring": (
        undocumented_parts,
        DOCSTRING + METHODS,
        DOCSTRING + METHODS.replace('"""A function."""', ""),
    ),
    "an import of torch": (loaded_torch, "import json", "import animegan_helpers.layers"),
}


@pytest.mark.parametrize("name", GOOD_AND_BROKEN)
def test_each_rule_is_noticed_when_it_is_broken(name):
    rule, good, broken = GOOD_AND_BROKEN[name]
    assert rule(good) == []
    assert rule(broken) != []


def test_lines_of_code_are_neither_blank_nor_comments_nor_docstrings():
    assert lines_of_code(NOT_CODE) == [7, 9]


# ---- what importing does, and what lies in the project ----


def test_importing_has_no_side_effects(tmp_path):
    modules = [module for module in MODULES if module != "__main__"]
    code = f"""
import importlib, os, signal, sys
import animegan_helpers
assert "torch" not in sys.modules
import numpy, random, torch

def state():
    randomness = [random.getstate(), torch.get_rng_state().tolist(), str(numpy.random.get_state())]
    settings = [torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()]
    return randomness, settings, signal.getsignal(signal.SIGINT), dict(os.environ)

before = state()
for module in {modules}:
    importlib.import_module("animegan_helpers." + module)
assert state() == before
assert "matplotlib.pyplot" not in sys.modules
"""
    assert run_python(code, cwd=tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def project_files():
    """What is written by hand or by a notebook: everything but data, environments and caches."""
    for folder, subfolders, names in os.walk(PROJECT):
        subfolders[:] = [name for name in subfolders if is_source_folder(name)]
        yield from (Path(folder, name) for name in names)


def is_source_folder(name):
    if name.startswith("."):
        return name == ".github"
    made = ("data", "build", "__pycache__", "node_modules")
    return name not in made and not name.endswith(".egg-info")


def test_no_path_of_a_machine_is_written_anywhere():
    machines = re.compile(r"(?<![\w.:+/])(/(work|home|root|Users)/\w|[A-Z]:\\+Users)")
    suffixes = {".py", ".ipynb", ".md", ".toml", ".txt", ".yml", ".yaml", ".sh", ".json"}
    found = []
    for path in project_files():
        if path.suffix in suffixes:
            text = path.read_text(encoding="utf-8")
            found += [
                f"{path.relative_to(PROJECT)}: {match[0]}" for match in machines.finditer(text)
            ]
    assert found == []


def test_no_file_is_over_2_megabytes_but_the_generator():
    large = [path.name for path in project_files() if path.stat().st_size > 2_000_000]
    assert large == ["generator.safetensors"]
    assert (PACKAGE / "pretrained" / large[0]).stat().st_size < 3_000_000


def test_the_package_needs_no_newer_python_than_it_says():
    """Syntax and standard library of the oldest Python that pyproject.toml promises."""
    project = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    oldest = int(re.search(r'requires-python = ">=3\.(\d+)"', project)[1])
    newer = {"hashlib.file_digest": 11, "itertools.batched": 12, "datetime.UTC": 11, "tomllib": 11}
    for module, text in TEXTS.items():
        ast.parse(text, feature_version=(3, oldest))
        used = [name for name, minor in newer.items() if name in text and minor > oldest]
        assert used == [], module


def test_tests_cannot_reach_the_network():
    with socket.socket() as sock, pytest.raises(PermissionError, match="192.0.2.1"):
        sock.connect(("192.0.2.1", 80))
    with pytest.raises(PermissionError, match="example.org"):
        socket.create_connection(("example.org", 443))
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()):
            pass  # this machine can be reached
