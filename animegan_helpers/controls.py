"""Names of directions become sliders, a seed, and buttons. `widgets` uses them (page 06)."""

from collections.abc import Callable
from html import escape

import ipywidgets
from ipywidgets import Layout

MAX_SEED = 999_999
LABEL_STYLE = {"description_width": "180px"}
COMMAND_HTML = """<textarea readonly rows="3" aria-label="The command that shows this face again"
style="box-sizing: border-box; width: 100%; padding: 4px 8px; border: 1px solid #bbb;
font: 12px/1.4 monospace; resize: none; color: inherit; background: transparent">{}</textarea>"""
STATUS_HTML = '<div role="status" style="overflow-wrap: anywhere; line-height: 1.4">{}</div>'


class Controls(ipywidgets.VBox):
    """A slider for each direction and component of z, the truncation, the seed, and buttons.

    `on_change` is called without arguments after each change of a value. Below the buttons are a
    command and a status message; `script` is an output that shows nothing. Raises ValueError for
    a seed outside its range.
    """

    def __init__(
        self,
        directions: list[str],
        components: list[str],
        z_dim: int,
        seed: int,
        reach: float,
        buttons: list[ipywidgets.Button],
        on_change: Callable[[], None],
    ):
        super().__init__(layout=Layout(flex="1 1 400px", max_width="560px", margin="0 0 0 16px"))
        _check_range(seed, 1.0)
        self.reach = reach
        self.buttons = buttons
        self._on_change = on_change
        self._paused = False  # True while several values are set
        self.sliders = {}
        for name in (*directions, *components):
            self.sliders[name] = _slider(name, -reach, reach, 0.1, 0.0, "+.1f")
        self.truncation = _slider("truncation", 0.0, 1.0, 0.05, 1.0, ".2f")
        self.seed = ipywidgets.BoundedIntText(
            seed,
            min=0,
            max=MAX_SEED,
            description="seed of the latent vector",
            style=LABEL_STYLE,
            layout=Layout(width="290px"),
        )
        self.command = ipywidgets.HTML()
        self.status = ipywidgets.HTML()
        self.script = ipywidgets.Output()
        for control in (*self.sliders.values(), self.truncation, self.seed):
            control.observe(self._changed, "value")
        self.children = self._column(directions, components, z_dim)

    def _column(self, directions, components, z_dim) -> list[ipywidgets.Widget]:
        """-> all controls from top to bottom; the sliders of the components are folded."""
        column = [self.sliders[name] for name in directions]
        if components:
            sliders = ipywidgets.VBox([self.sliders[name] for name in components])
            folded = ipywidgets.Accordion([sliders], selected_index=None)
            folded.set_title(0, f"The first {len(components)} of the {z_dim} components of z")
            column.append(folded)
        buttons = ipywidgets.HBox(self.buttons, layout=Layout(flex_flow="row wrap"))
        column += [self.truncation, self.seed, buttons, self.command, self.status, self.script]
        return column

    def _changed(self, change) -> None:
        if not self._paused:
            self._on_change()

    def offsets(self) -> dict[str, float]:
        """-> the value of each slider of a direction or component; zeros are left out."""
        offsets = {}
        for name, slider in self.sliders.items():
            offset = round(slider.value, 2)
            if offset != 0:
                offsets[name] = offset
        return offsets

    def set(self, seed: int, truncation: float, offsets: dict[str, float]) -> None:
        """Set all values, then call `on_change` once. Sliders without an offset go to 0.

        Raises ValueError for an unknown name, or a value outside its control's range.
        """
        for name, offset in offsets.items():
            if name not in self.sliders or abs(offset) > self.reach:
                raise ValueError(
                    f"can't move z by {offset} along {name!r}: choose up to {self.reach:g}"
                    f" along {', '.join(self.sliders)}"
                )
        _check_range(seed, truncation)
        self._paused = True
        try:
            self.seed.value = seed
            self.truncation.value = truncation
            for name, slider in self.sliders.items():
                slider.value = offsets.get(name, 0.0)
        finally:
            self._paused = False
        self._on_change()

    def show_command(self, command: str) -> None:
        """Show a line of Python, to be selected or copied; the last status goes."""
        self.command.value = COMMAND_HTML.format(escape(command))
        self.status.value = ""

    def show_status(self, message: str) -> None:
        """Show what a button has done."""
        self.status.value = STATUS_HTML.format(escape(message))


def _check_range(seed, truncation) -> None:
    if not 0 <= seed <= MAX_SEED or not 0 <= truncation <= 1:
        raise ValueError(
            f"seed {seed}, truncation {truncation}: choose a seed from 0 to {MAX_SEED}, and a"
            " truncation from 0 to 1"
        )


def _slider(name, low, high, step, value, readout_format) -> ipywidgets.FloatSlider:
    return ipywidgets.FloatSlider(
        value,
        min=low,
        max=high,
        step=step,
        description=name,
        readout_format=readout_format,
        style=LABEL_STYLE,
        layout=Layout(width="auto"),
    )


def button(name: str, icon: str, tooltip: str, act: Callable[[], object]) -> ipywidgets.Button:
    """A button that calls `act` without arguments."""
    widget = ipywidgets.Button(
        description=name, icon=icon, tooltip=tooltip, layout=Layout(width="auto")
    )
    widget.on_click(lambda _: act())
    return widget
