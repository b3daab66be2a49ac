"""How `make docs` builds these pages. They are plain Markdown and read as well without it."""

project = "Hullspeed"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "Hullspeed"
exclude_patterns = ["reference.py"]
myst_heading_anchors = 3
# No request to any other host: furo brings its own style and script.
html_theme_options = {"top_of_page_buttons": []}
html_copy_source = False
html_show_sphinx = False
