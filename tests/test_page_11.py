"""Page 11: ONNX Runtime generates the same faces as PyTorch, and the upload lines fit the Hub."""

import inspect
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from animegan_helpers import web_page
from animegan_helpers.generator import Generator, generate, sample_z

PAGE = Path(__file__).parent.parent / "notebooks" / "11_share_it.ipynb"


def sources(kind: str) -> list[str]:
    """The sources of the page's cells of one kind."""
    cells = json.loads(PAGE.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


def onnx_cell() -> str:
    """The source of the one cell that exports."""
    (source,) = [text for text in sources("code") if "torch.onnx.export(" in text]
    return source


@torch.random.fork_rng(devices=[])
def tiny(activation: str) -> Generator:
    """A generator whose batch norm has seen batches: a fresh one generates uniform gray."""
    torch.manual_seed(0)
    G = Generator(width=2, z_dim=4, size=16, activation=activation, init="he")
    for norm in G.net:
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.bias, 0, 0.5)
    for _ in range(30):
        G(sample_z(64, G.z_dim, 1))
    return G.eval()


def run_cell(G: Generator, out: Path) -> None:
    """Run the cell with the names that the page has defined above it."""
    names = {"G": G, "out": out, "z64": sample_z(64, G.z_dim, 13)}
    names |= {"np": np, "torch": torch, "nn": nn, "web_page": web_page, "generate": generate}
    exec(onnx_cell(), names)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_the_file_is_valid_and_generates_the_same_faces_for_any_batch_size(
    activation, tmp_path, capfd
):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    G = tiny(activation)
    run_cell(G, tmp_path)
    printed = capfd.readouterr()
    assert printed.out.splitlines()[1:] == ["(64, 3, 16, 16) within 1e-4 of PyTorch: True"]
    assert printed.err == ""

    file = tmp_path / "generator.onnx"
    assert [path.name for path in tmp_path.iterdir()] == [file.name]  # the weights are in it
    onnx.checker.check_model(str(file), full_check=True)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for count in (1, 5):
        z = sample_z(count, G.z_dim, 9)
        expected = generate(G, z).numpy()
        (faces,) = session.run(["faces"], {"z": z.numpy()})
        assert expected.std() > 0.1
        assert faces.shape == expected.shape == (count, 3, 16, 16)
        assert np.abs(faces - expected).max() < 1e-4


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_where_a_package_is_missing_the_cell_says_how_to_install_it(
    missing, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, missing, None)  # what an import sees where it is not installed
    run_cell(tiny("relu"), tmp_path)
    (line,) = capsys.readouterr().out.splitlines()
    assert "%pip install onnxscript onnxruntime" in line
    assert list(tmp_path.iterdir()) == []


def upload_blocks() -> list[str]:
    """The two blocks that the page shows and does not run: the Hub, then the static Space."""
    blocks = re.findall(r"```python\n(.*?)```", "\n".join(sources("markdown")), flags=re.DOTALL)
    return [block for block in blocks if "create_repo(" in block]


def test_the_upload_blocks_have_three_lines_and_calls_that_the_hub_accepts(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    calls = []
    for name in ("create_repo", "upload_folder"):
        signature = inspect.signature(getattr(hub, name))

        def record(*args, name=name, signature=signature, **kwargs):
            calls.append((name, signature.bind(*args, **kwargs).arguments))  # or TypeError

        monkeypatch.setattr(hub, name, record)
    names = {"out": tmp_path}
    blocks = upload_blocks()
    for block in blocks:
        assert len(block.splitlines()) == 3
        exec(block, names)
    made = [(name, call["repo_id"], call.get("repo_type")) for name, call in calls]
    model = "YOU/anime-faces"
    space = "YOU/anime-faces-page"
    assert made == [
        ("create_repo", model, None),
        ("upload_folder", model, None),
        ("create_repo", space, "space"),
        ("upload_folder", space, "space"),
    ]
    assert calls[0][1]["private"] is True
    assert calls[1][1]["folder_path"] == tmp_path
    assert calls[1][1]["ignore_patterns"] == ["space/*", "student.html"]
    assert calls[2][1]["space_sdk"] == "static" and calls[2][1]["private"] is True
    assert calls[3][1]["folder_path"] == tmp_path / "space"
