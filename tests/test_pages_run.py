"""Every page run once more as a learner leaves it: exercises answered, and a package that has drifted from page 03."""

import os
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from animegan_helpers import preprocess

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
DRIFT = ("discriminator.py", "start_weights(self, start)", 'start_weights(self, "he")')  # page 03 is where it is built

# Three wrong answers to each exercise, such as learners give, in the form of the page's own answer.
WRONG = {
    "01": [
        ["yours = 1 / 10", "yours = 1 / 18", "yours = 4096 / 80"],
        [
            'def yours(face):\n    return drawn.draw(face | {"hair_color": "blue"})',
            'def yours(face):\n    return drawn.draw(face | {"eyes": "wink"})',
            'def yours(face):\n    return drawn.draw(face | {"hair_color": "blue", "eyes": "closed"})',
        ],
        [
            'def count(folder):\n    return len(set(folder.rglob("*.png")))',
            'def count(folder):\n    return len(list(folder.glob("data/*.png")))',
            'def count(folder):\n    return len({path.name for path in folder.rglob("*.png")})',
        ],
    ],
    "02": [
        ["yours = 51 / 255", "yours = 51 / 255 - 1", "yours = 0.6"],
        ["yours = len(prepared) / 100", "yours = len(prepared) // 100 + 1", "yours = len(prepared)"],
        ["mean, spread = 0.5, 1.0", "mean, spread = 0.5, 0.25", "mean, spread = 0.0, 1.0"],
    ],
    "03": [
        ["yours = (96 - 5) // 3", "yours = 96 // 3", "yours = (96 - 5) / 3 + 1"],
        ["yours = 32 * 16 * 4 * 4", "yours = 32 * 16 * 4 * 4 + 3 * 32", "yours = 32 * 4 * 4 + 2 * 32"],
        [
            "def norm_of(channels):\n    return nn.BatchNorm2d(channels, momentum=0.8)",
            "def norm_of(channels):\n    return nn.BatchNorm2d(channels, 0.2)",
            "def norm_of(channels):\n    return nn.BatchNorm2d(channels)",
        ],
    ],
    "04": [
        ["yours = (7 - 1) * 3 + 5", "yours = (7 - 1) * 3 + 5 - 1", "yours = (7 + 2 - 5) // 3 + 1"],
        [
            "def yours(picture):\n    return F.conv_transpose2d(picture, torch.ones(1, 1, 2, 2), stride=2, padding=2)",
            "def yours(picture):\n    return F.conv_transpose2d(picture, torch.ones(1, 1, 2, 2), stride=1, padding=1)",
            "def yours(picture):\n    return F.conv_transpose2d(picture, torch.ones(1, 1, 2, 2), stride=4, padding=1)",
        ],
        [
            "def preview(G, codes):\n    with torch.no_grad():\n        return G(codes)",
            "def preview(G, codes):\n    G.eval()\n    with torch.no_grad():\n        return G(codes)",
            "def preview(G, codes):\n    pass",
        ],
    ],
    "05": [
        ["yours = 0.127", "yours = 1.386", "yours = 0.88 * 2"],
        [
            "def yours(average, new, decay=0.99):\n    return (1 - decay) * average + decay * new",
            "def yours(average, new, decay=0.99):\n    return average + (1 - decay) * new",
            "def yours(average, new, decay=0.99):\n    return (average + new) / 2",
        ],
        [
            "def noisy_labels(u):\n    return 1 - 0.1 * u, 0 - 0.1 * u",
            "def noisy_labels(u):\n    return torch.ones_like(u), torch.zeros_like(u)",
            "def noisy_labels(u):\n    return 0 + 0.1 * u, 1 - 0.1 * u",
        ],
    ],
    "06": [
        ["yours = 1 / 4", "yours = 2", "yours = 0.71"],
        [
            "def yours(direction, other):\n    return direction - other",
            "def yours(direction, other):\n    return direction - direction @ other",
            "def yours(direction, other):\n    return (direction @ other) * other",
        ],
        [
            """def arc(start, end, steps):
    t = torch.linspace(0, 1, steps)[:, None]
    angle = torch.acos((start @ end).clamp(-1, 1))
    return (torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end) / torch.sin(angle)
""",
            """def arc(start, end, steps):
    t = torch.linspace(0, 1, steps)[:, None]
    angle = torch.acos(start @ end / start.norm())
    return (torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end) / torch.sin(angle)
""",
            """def arc(start, end, steps):
    t = torch.linspace(0, 1, steps)[:, None]
    return (1 - t) * start + t * end
""",
        ],
    ],
    "07": [
        ["yours = 64 * 0.5", "yours = 0.5**2", "yours = (64 * 0.5**2) ** 0.5"],
        ['yours = "down"', 'yours = "neither"', "yours = fids[1]"],
        [
            """def fid_of(faces):
    return my_fid(real, measure.features(shipped, faces.permute(0, 3, 1, 2).float()))
""",
            """def fid_of(faces):
    return my_fid(real, measure.features(shipped, faces.permute(0, 3, 1, 2).float() / 255 - 0.5))
""",
            """def fid_of(faces):
    return my_fid(real, measure.features(shipped, faces.permute(0, 3, 1, 2).float() / 127.5))
""",
        ],
    ],
    "08": [
        [
            """def d_loss(real_logits, fake_logits):
    bce = F.binary_cross_entropy_with_logits
    return bce(real_logits, torch.zeros_like(real_logits)) + bce(fake_logits, torch.ones_like(fake_logits))
""",
            """def d_loss(real_logits, fake_logits):
    bce = F.binary_cross_entropy
    real, fake = real_logits.sigmoid(), fake_logits.sigmoid()
    return (bce(real, torch.ones_like(real)) + bce(fake, torch.zeros_like(fake))) / 2
""",
            """def d_loss(real_logits, fake_logits):
    return torch.tensor(0.0)
""",
        ],
        [
            """def g_turn(G, D, z):
    return F.softplus(-D(G(z))).mean()
""",
            """def g_turn(G, D, z):
    return F.softplus(-D(G(z).detach())).mean()
""",
            """def g_turn(G, D, z):
    D.requires_grad_(False)
    return F.softplus(-D(G(z))).mean()
""",
        ],
        [
            "def saved_epochs(epochs=23):\n    return [epoch for epoch in range(epochs) if (epoch + 1) % 5 == 0]",
            "def saved_epochs(epochs=23):\n"
            "    return [epoch for epoch in range(epochs) if epoch % 5 == 0 or epoch == epochs]",
            "def saved_epochs(epochs=23):\n    return list(range(epochs))",
        ],
    ],
    "09": [
        ["yours = 1", "yours = 0", "yours = 1.386"],
        [
            """def yours(D, real, noise, sigma=1e-3):
    return ((D(real + sigma * noise) - D(real)) / sigma).mean()
""",
            """def yours(D, real, noise, sigma=1e-3):
    return (D(real + sigma * noise) - D(real)).square().mean()
""",
            """def yours(D, real, noise, sigma=1e-3):
    return (D(sigma * noise) - D(0 * noise)).div(sigma).square().mean()
""",
        ],
        [
            "def what_d_sees(real, fake, change):\n    return real, change(fake)",
            "def what_d_sees(real, fake, change):\n    return real, fake",
            "def what_d_sees(real, fake, change):\n    return change(real), change(real) * 0 + fake",
        ],
    ],
    "10": [
        ["yours = 2", "yours = 4", "yours = 4 * 5 / 4"],
        [
            "def yours(gradients, counts):\n    return sum(gradients) / len(gradients)",
            "def yours(gradients, counts):\n    return sum(g * n for g, n in zip(gradients, counts))",
            "def yours(gradients, counts):\n    return sum(gradients) / sum(counts)",
        ],
        [
            "def keep(history, loss):\n    history.append(loss.clone())\n    return history",
            "def keep(history, loss):\n    loss.detach()\n    history.append(loss)\n    return history",
            "def keep(history, loss):\n    history.append(0.0)\n    return history",
        ],
    ],
    "11": [
        ["yours = 128 * 8 // 6", "yours = 128", "yours = 128 * 8 / 6"],
        [
            "def yours(weight, psi):\n    return weight / psi",
            "def yours(weight, psi):\n    return weight + psi",
            "def yours(weight, psi):\n    return weight * psi**2",
        ],
        [
            """def folded_weight(conv, norm):
    return conv.weight.detach()
""",
            """def folded_weight(conv, norm):
    scale = norm.weight / (norm.running_var + norm.eps)
    return (conv.weight * scale[:, None, None]).detach()
""",
            """def folded_weight(conv, norm):
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return (conv.weight * scale).detach()
""",
        ],
    ],
}


@pytest.fixture(scope="module")
def drifted(tmp_path_factory):
    """A copy of the project whose package has drifted, with the drawn faces already there."""
    preprocess.ready("drawn")
    root = tmp_path_factory.mktemp("drifted")
    shutil.copytree(ROOT / "animegan_helpers", root / "animegan_helpers")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    for part in ("drawn", "prepared/drawn_64"):
        shutil.copytree(ROOT / "data" / part, root / "data" / part)
    name, before, after = DRIFT
    module = root / "animegan_helpers" / name
    assert module.read_text(encoding="utf-8").count(before) == 1
    module.write_text(module.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    return root


def with_answer(source, answer):
    """An exercise's cell with an answer put where it leaves room."""
    start = source.index("checks.exercise(")
    name = "yours" if "yours" in answer.split("(")[0] else re.search(r"yours = (\w+)", source)[1]
    given = "" if name == "yours" else f"\nyours = {name}\n"
    before = source[:start]
    if "=" in answer and not answer.startswith("def") and name != "yours":  # one line of a function is changed
        first = answer.split(" = ")[0]
        before = re.sub(rf"^( +){re.escape(first)} = .*$", rf"\1{answer.strip()}", before, flags=re.MULTILINE)
        answer = ""
    return f"{before}\n{answer}{given}\n{source[start:]}"


def answered(notebook, wrong):
    """The page with trainings of a few steps only, and each exercise answered: wrongly in cells of their own, which
    are marked, then as the page itself does; + how many exercises there are."""
    cells, count = [], 0
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.source = re.sub(r"\b(steps|range|total)(=|\()300\b", r"\g<1>\g<2>6", cell.source)
            if "checks.exercise(" in cell.source:
                words = next(c.source for c in notebook.cells[i + 1 :] if c.cell_type == "markdown")
                right = re.search(r"```python\n(.*?)```", words, flags=re.DOTALL)[1]
                for answer in wrong[count]:
                    cells.append(nbformat.v4.new_code_cell(with_answer(cell.source, answer), metadata={"wrong": True}))
                cell.source = with_answer(cell.source, right)
                count += 1
        cells.append(cell)
    notebook.cells = cells
    return count


def printed(cells):
    return ["".join(output.text for output in cell.outputs if output.output_type == "stream") for cell in cells]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name[:2])
def test_answers_are_right_and_a_drift_turns_only_its_own_hand_over_red(path, drifted, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(drifted))
    notebook, wrong = nbformat.read(path, as_version=4), WRONG.get(path.name[:2], [])
    exercises = answered(notebook, wrong)
    assert [len(answers) for answers in wrong] == [3] * exercises, "each exercise has three wrong answers, in WRONG"
    where = {"metadata": {"path": str(drifted / "notebooks")}}
    NotebookClient(notebook, timeout=300, allow_errors=True, resources=where, env=dict(os.environ)).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    red = [cell.source for cell in code if any(output.output_type == "error" for output in cell.outputs)]
    for cell, said in zip(code, printed(code)):
        if cell.metadata.get("wrong"):
            assert said.count("Not yet: ") == 1 and "Right." not in said, f"taken for right:\n{cell.source}"
    said = "".join(printed(cell for cell in code if not cell.metadata.get("wrong")))
    assert said.count("Right.") == exercises and "Not yet" not in said
    assert [source.startswith("checks.same_network(Discriminator") for source in red] == (
        [True] if path.name.startswith("03") else []
    )
