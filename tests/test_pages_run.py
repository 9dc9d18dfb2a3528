"""Every page is run as a learner leaves it, with wrong and with right answers to its exercises.

Open exercises, which ask for a prediction, get one, so that their experiments run.

The package differs from what page 03 builds. Page 03 must notice that, and no other page.
"""

import atexit
import functools
import re
import shutil
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from pages import PAGES, page_id
from shorter_pages import SHORTER, shorten, unexpected_errors

from animegan_helpers.prepare import load_faces

ROOT = Path(__file__).parent.parent
DRIFT = ("discriminator.py", "init_weights(self, init)", 'init_weights(self, "he")')

# Three wrong answers to each exercise, such as learners give, in the form of the page's own answer
WRONG = {
    "01": [
        [
            'def yours(face):\n    return drawn.draw(face | {"hair_color": "blue"})',
            'def yours(face):\n    return drawn.draw(face | {"eyes": "wink"})',
            "def yours(face):\n"
            '    return drawn.draw(face | {"hair_color": "blue", "eyes": "closed"})',
        ],
        [
            'def count(folder):\n    return len(set(folder.rglob("*.png")))',
            'def count(folder):\n    return len(list(folder.glob("data/*.png")))',
            'def count(folder):\n    return len({path.name for path in folder.rglob("*.png")})',
        ],
    ],
    "02": [
        ["yours = 51 / 255", "yours = 51 / 255 - 1", "yours = 0.6"],
        ["mean, std = 0.5, 1.0", "mean, std = 0.5, 0.25", "mean, std = 0.0, 1.0"],
    ],
    "03": [
        ["yours = (96 - 5) // 3", "yours = 96 // 3", "yours = (96 - 5) / 3 + 1"],
        [
            "def yours(D, images):\n    D(images).sum().backward()\n    return images.grad",
            "def yours(D, images):\n    return torch.zeros_like(images)",
            """def yours(D, images):
    images = images.clone()
    images.requires_grad_(True)
    D(images).mean().backward()
    return images.grad
""",
        ],
        [
            "def batch_norm(channels):\n    return nn.BatchNorm2d(channels, momentum=0.8)",
            "def batch_norm(channels):\n    return nn.BatchNorm2d(channels, 0.2)",
            "def batch_norm(channels):\n    return nn.BatchNorm2d(channels)",
        ],
    ],
    "04": [
        ["yours = (7 - 1) * 3 + 5", "yours = (7 - 1) * 3 + 5 - 1", "yours = (7 + 2 - 5) // 3 + 1"],
        [
            """def yours(image, kernel, stride):
    out = torch.zeros((len(image) - 1) * stride + 4, (len(image[0]) - 1) * stride + 4)
    for i, row in enumerate(image):
        for j, number in enumerate(row):
            out[i * stride : i * stride + 4, j * stride : j * stride + 4] = number * kernel
    return out
""",
            """def yours(image, kernel, stride):
    return F.conv_transpose2d(image[None, None], kernel[None, None], stride=stride, padding=1)[0, 0]
""",
            """def yours(image, kernel, stride):
    return image.repeat_interleave(stride, 0).repeat_interleave(stride, 1)
""",
        ],
        [
            "def preview(G, z):\n    with torch.no_grad():\n        return G(z)",
            "def preview(G, z):\n    G.eval()\n    with torch.no_grad():\n        return G(z)",
            "def preview(G, z):\n    pass",
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
        ['yours = "down"', 'yours = "neither"', "yours = truncated_fid"],
        [
            """def fid_of(faces):
    return fid(real, extract_features(package_judge, faces.permute(0, 3, 1, 2).float()))
""",
            """def fid_of(faces):
    return fid(real, extract_features(package_judge, faces.permute(0, 3, 1, 2).float() / 255 - 0.5))
""",
            """def fid_of(faces):
    return fid(real, extract_features(package_judge, faces.permute(0, 3, 1, 2).float() / 127.5))
""",
        ],
        ['yours = "far"', 'yours = "equal"', "yours = narrow_fid"],
    ],
    "08": [
        [
            """def d_loss(real_logits, fake_logits):
    bce = F.binary_cross_entropy_with_logits
    real_loss = bce(real_logits, torch.zeros_like(real_logits))
    return real_loss + bce(fake_logits, torch.ones_like(fake_logits))
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
            "def saved_epochs(epochs=23):\n"
            "    return [epoch for epoch in range(epochs) if (epoch + 1) % 5 == 0]",
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
            "def what_d_sees(real, fake, augment):\n    return real, augment(fake)",
            "def what_d_sees(real, fake, augment):\n    return real, fake",
            "def what_d_sees(real, fake, augment):\n"
            "    return augment(real), augment(real) * 0 + fake",
        ],
    ],
    "10": [
        ["yours = 2", "yours = 4", "yours = 4 * 5 / 4"],
        [
            "def yours(gradients, counts):\n    return sum(gradients) / len(gradients)",
            "def yours(gradients, counts):\n"
            "    return sum(g * n for g, n in zip(gradients, counts))",
            "def yours(gradients, counts):\n    return sum(gradients) / sum(counts)",
        ],
        [
            "def keep(history, loss):\n    history.append(loss.clone())\n    return history",
            "def keep(history, loss):\n    loss.detach()\n"
            "    history.append(loss)\n    return history",
            "def keep(history, loss):\n    history.append(0.0)\n    return history",
        ],
    ],
    "11": [
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
    "12": [
        ["yours = 2240", "yours = 4", "yours = 29 * 32"],
        [
            """def yours(features, table, labels, unconditional):
    return (features * table[labels]).sum(1)
""",
            """def yours(features, table, labels, unconditional):
    return unconditional + (features * table[labels]).sum(0)
""",
            """def yours(features, table, labels, unconditional):
    return unconditional + features.sum(1) + table[labels].sum(1)
""",
        ],
        [
            "def logits(D, real, y_real, fake, y_fake):\n"
            "    return D(real, y_fake), D(fake, y_real)",
            "def logits(D, real, y_real, fake, y_fake):\n"
            "    return D(real, y_fake), D(fake, y_fake)",
            "def logits(D, real, y_real, fake, y_fake):\n"
            "    return D(real, y_real), D(real, y_real) * 0",
        ],
    ],
    "13": [
        [
            "def yours(x, velocity, t):\n    return x + velocity",
            "def yours(x, velocity, t):\n    return x + t * velocity",
            "def yours(x, velocity, t):\n    return x - (1 - t) * velocity",
        ],
        [
            "def noised(image, noise, t):\n    return image * (1 - t) - noise * t",
            "def noised(image, noise, t):\n    return noise + image * t",
            "def noised(image, noise, t):\n    return noise * (1 - t) + image * (1 - t)",
        ],
    ],
    "A": [
        [
            "def yours(first, second):\n    return np.array_equal(first, second)",
            "def yours(first, second):\n    return np.abs(first - second).mean() < 20",
            "def yours(first, second):\n    return abs(first.mean() - second.mean()) < 20",
        ],
        [
            """def is_readable(path):
    try:
        Image.open(path).verify()
    except OSError:
        return False
    return True
""",
            'def is_readable(path):\n    return path.suffix in (".jpg", ".png")',
            'def is_readable(path):\n    return b"JFIF" in path.read_bytes()',
        ],
    ],
}


@functools.cache
def drawn_data():
    """-> a data folder with the prepared synthetic faces, drawn once for all tests of a process."""
    folder = Path(tempfile.mkdtemp(prefix="animegan-data-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANIMEGAN_DATA_FOLDER", str(folder))
        load_faces("drawn")
    return folder


def copy_project(root):
    """Copy into a folder all that the pages need, synthetic faces included. -> the folder"""
    for folder in ("animegan_helpers", "notebooks"):
        shutil.copytree(ROOT / folder, root / folder)
    shutil.copytree(drawn_data(), root / "data")
    return root


@pytest.fixture(scope="module")
def drifted(tmp_path_factory):
    """A copy of the project with a package that has drifted."""
    root = copy_project(tmp_path_factory.mktemp("drifted"))
    name, before, after = DRIFT
    module = root / "animegan_helpers" / name
    source = module.read_text(encoding="utf-8")
    assert source.count(before) == 1
    module.write_text(source.replace(before, after), encoding="utf-8")
    return root


def with_answer(source, answer):
    """An exercise's cell with an answer where the cell leaves room for it."""
    start = source.index("checks.exercise(")
    before, check = source[:start], source[start:]
    if "yours" in answer.split("(")[0]:
        return f"{before}\n{answer}\n{check}"
    name = re.search(r"yours = (\w+)", source)[1]
    if "=" in answer and not answer.startswith("def"):  # the answer is one line of a function
        variable = re.escape(answer.split(" = ")[0])
        line = rf"^( +){variable} = .*$"
        before = re.sub(line, rf"\1{answer.strip()}", before, flags=re.MULTILINE)
        answer = ""
    return f"{before}\n{answer}\nyours = {name}\n\n{check}"


def own_answer(cells):
    """The cells after an exercise -> the answer that the page itself gives."""
    text = next(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)[1]


def answer_exercises(notebook, wrong):
    """Answer a page's exercises; -> the number of graded ones.

    Each wrong answer gets a cell before the exercise, marked as wrong. The exercise itself gets the
    page's own answer. An open exercise gets a prediction.
    """
    cells = []
    count = 0
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            if "checks.predict(" in cell.source:
                cell.source = cell.source.replace("yours = ...", 'yours = "a guess"')
        if cell.cell_type == "code" and "checks.exercise(" in cell.source:
            for answer in wrong[count]:
                source = with_answer(cell.source, answer)
                cells.append(nbformat.v4.new_code_cell(source, metadata={"wrong": True}))
            cell.source = with_answer(cell.source, own_answer(notebook.cells[i + 1 :]))
            count += 1
        cells.append(cell)
    notebook.cells = cells
    return count


def printed(cell):
    """What a cell has printed."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def stopped(cell):
    """Whether a cell has stopped with an error."""
    return any(output.output_type == "error" for output in cell.outputs)


def test_each_shortened_length_is_on_a_page():
    """A pattern that no page has any more would leave its long training as it is."""
    texts = [cell.source for path in PAGES for cell in nbformat.read(path, as_version=4).cells]
    for pattern in SHORTER:
        assert any(re.search(pattern, text) for text in texts), pattern


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_answers_are_graded_and_only_page_03_notices_the_drift(path, drifted, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(drifted))
    notebook = nbformat.read(path, as_version=4)
    shorten(notebook)
    wrong = WRONG.get(page_id(path), [])
    exercises = answer_exercises(notebook, wrong)
    counts = [len(answers) for answers in wrong]
    assert counts == [3] * exercises, "each exercise has three wrong answers in WRONG"
    folder = {"metadata": {"path": str(drifted / "notebooks")}}
    client = NotebookClient(notebook, timeout=300, allow_errors=True, resources=folder)
    client.execute()

    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    wrong_cells = [cell for cell in code if cell.metadata.get("wrong")]
    for cell in wrong_cells:
        text = printed(cell)
        graded_wrong = text.count("Not yet: ") == 1 and "Right." not in text
        assert graded_wrong, f"graded as right:\n{cell.source}"
    text = "".join(printed(cell) for cell in code if cell not in wrong_cells)
    assert text.count("Right.") == exercises and "Not yet" not in text
    open_ones = sum("checks.predict(" in cell.source for cell in code)
    assert text.count("You predicted: ") == open_ones and "No prediction yet" not in text
    checked = [cell for cell in code if "checks." in cell.source]
    noticed = [cell.source.split(",")[0] for cell in checked if stopped(cell)]
    expected = ["checks.same_network(Discriminator"] if page_id(path) == "03" else []
    assert noticed == expected
    assert unexpected_errors(notebook) == []
