"""Makes the documentation site: the READMEs, the notebooks, and every command, setting and public name.

    PYTHONPATH=.ci python -m docs --output build/site

    __main__.py    builds the site, with warnings as errors
    site.py        the pages and their order
    commonmark.py  a README as the site's Markdown: indentation of lists, and paths of pages as links
    commands.py    the reference of the commands, from click
    settings.py    the reference of the settings, from config/
    names.py       the reference of the public names, from their docstrings
    notebooks.py   a notebook as a page
    properdocs.yml the theme, and what counts as a warning; style.css and iframe-worker.js add to the theme

Nothing is written by hand that the package can say of itself. The pages are in the places of the files they are made from, so a
relative path means the same on the site as it does on a code host.
"""
