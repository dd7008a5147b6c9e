"""A page of a run under way, served by a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlx_selfdebug.reporting.live import LiveServer


@contextmanager
def serving(path: Path) -> Iterator[LiveServer]:
    with LiveServer(path) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
