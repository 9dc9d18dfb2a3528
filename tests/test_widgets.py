"""widgets: training becomes one picture that changes."""

from animegan_helpers import plotting, recipes, training, widgets


class Handle:
    def __init__(self, shown):
        self.shown = shown

    def update(self, figure):
        self.shown.append(("update", figure))


def watched(monkeypatch, faces, run, seconds):
    shown = []

    def display(figure, display_id):
        shown.append(("display", figure))
        return Handle(shown)

    monkeypatch.setattr(widgets, "display", display)  # outside a notebook there is nothing to look at
    recipe = recipes.get("bce", width=2, z_dim=4, batch=4, size=16)
    training.train(recipe, faces, run, steps=4, watch=widgets.LiveView(seconds))
    return shown


def test_one_picture_is_shown_and_then_changed(monkeypatch, faces, tmp_path):
    shown = watched(monkeypatch, faces, tmp_path, seconds=0)
    assert [how for how, _ in shown] == ["display", *["update"] * 4]
    assert all(isinstance(figure, plotting.Figure) for _, figure in shown)
    assert "Step 1," in shown[0][1].caption and "Step 4," in shown[-1][1].caption


def test_it_is_not_drawn_at_every_step_but_surely_at_the_end(monkeypatch, faces, tmp_path):
    shown = watched(monkeypatch, faces, tmp_path, seconds=1e6)
    assert "Step 4," in shown[-1][1].caption and len(shown) <= 2
