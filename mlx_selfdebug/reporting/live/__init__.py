"""Serve a page on 127.0.0.1 that shows a run under way, from what the run has stored and without writing anything.

    state.py     whether a run waits, is under way, has stopped or is finished    attempts.py  the attempts in brief
    watcher.py   looks at the run every few seconds, once for all open pages      meters.py    rates, and memory from outside
    pace.py      keeps the cost of looking below a share of a core                now.py       what is going on, in words
    server.py    answers those who know the token in the address                  page.py      the page and its parts as HTML

>>> with LiveServer(Path("runs/first")) as server:                                      # doctest: +SKIP
...     print(server.url)
...     server.serve_forever()
"""

from mlx_selfdebug.reporting.live.server import LiveServer

__all__ = ["LiveServer"]
