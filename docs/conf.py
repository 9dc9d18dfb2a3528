"""Sphinx's settings for the site. `python docs/build.py` makes it."""

import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "notebooks"))
from address import address  # noqa: E402

REPOSITORY, TAG = address()

project = "Anime faces from noise"
author = "the authors of the notebooks"
version = release = TAG.removeprefix("v")
language = "en"
suppress_warnings = ["misc.highlighting_failure"]  # Python with a line for the shell: !torchrun
root_doc = "index"
extensions = ["myst_nb", "sphinx.ext.autodoc"]

nb_execution_mode = "off"  # the pages are shown with the outputs that they are committed with
nb_merge_streams = True
myst_enable_extensions = ["attrs_inline", "dollarmath"]
myst_heading_anchors = 4
html_math_renderer = "mathml"

default_role = "literal"  # docstrings write `name`, as Markdown does
autodoc_preserve_defaults = True  # as written, not as the path that they are on this machine
autodoc_member_order = "bysource"
maximum_signature_line_length = 80

html_theme = "sphinx_book_theme"
html_title = project
html_theme_options = {
    "repository_url": REPOSITORY,
    "use_repository_button": True,
    "use_download_button": False,
    "logo": {"text": project},
    "show_toc_level": 2,
    "navbar_persistent": [],  # the search stands in the side bar
    "footer_content_items": [],
}
html_context = {"default_mode": "auto"}
html_favicon = str(HERE / "static" / "face.png")
html_static_path = [str(HERE / "static")]
html_css_files = ["site.css"]
html_use_index = False
html_domain_indices = False
html_copy_source = False
html_show_sourcelink = False


def render_math(translator, node) -> None:
    """Write a formula as MathML: unlike MathJax, browsers display it without a script."""
    is_block = isinstance(node, nodes.math_block)
    mathml = tex2mathml(node.astext(), as_block=is_block)
    if is_block:
        mathml = f'<div class="formula">{mathml}</div>'
    translator.body.append(mathml)
    raise nodes.SkipNode


def setup(app) -> None:
    """Register the renderer of formulas."""
    app.add_html_math_renderer("mathml", (render_math, None), (render_math, None))
