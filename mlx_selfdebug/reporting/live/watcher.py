"""Look at a run every few seconds, and keep the parts of its page up to date, for all pages that are open.

Watching must not slow down the run:

- The database is opened only for a moment at a time.
- A look (:meth:`Watcher.look`) reads only what is new, and renders the quick parts of the page.
- The slow parts, for which all attempts are read, are rendered (:meth:`Watcher.render`) only if something has changed.
- Together this takes at most a hundredth of a core.

While no page is open, the run is looked at less often, so that rates and memory are known when a page is opened.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlx_selfdebug.errors import SelfDebugError
from mlx_selfdebug.reporting.live import page
from mlx_selfdebug.reporting.live.attempts import AttemptLog, Totals
from mlx_selfdebug.reporting.live.meters import MemoryMeter, RateMeter
from mlx_selfdebug.reporting.live.now import Now, Sight, describe, unreadable, waiting
from mlx_selfdebug.reporting.live.pace import Pace
from mlx_selfdebug.reporting.live.state import State, read_state, stage_under_way
from mlx_selfdebug.reporting.records import Records, read_outline, read_records
from mlx_selfdebug.store import StoredRun, open_stored

LOOK_S = 2.0
"""The shortest time between two looks while a page is open, in seconds."""
IDLE_S = 10.0
"""The seconds between two looks while no page is open."""
RENDER_S = 10.0
"""The shortest time between two renderings of the slow parts, in seconds."""
LOOK_SHARE, RENDER_SHARE = 0.004, 0.003
"""The largest shares of a core that looking and rendering the slow parts take while the run is under way."""
OPEN_S = 15.0
"""The seconds for which a page counts as open after it has asked for changes. An open page asks every two seconds."""
RETRY_S = 0.3
"""The seconds after which a run that could not be read is read again."""
TICK_S = 0.2
"""The seconds after which the thread wakes up to see whether something is due."""
_STAGES_KEY = (
    "SELECT (SELECT count(*) FROM environment), (SELECT count(*) FROM pairs), (SELECT total(wall_s) FROM stages)"
)
_STEPS_KEY = """SELECT (SELECT count(*) FROM steps), (SELECT total(wall_s) FROM steps), (SELECT count(*) FROM reward_steps),
    (SELECT total(gradient_s) FROM reward_steps)"""
"""Two cheap queries that tell whether the outline of a run has changed: by a stage, or by a step of training.

Each returns one row. As long as both rows are the same as before, the outline need not be read again.
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Changes:
    """The changes in a page since an earlier version of it. ``server.py`` sends them to the browser as JSON."""

    version: int
    """The present version, which is higher after every change."""
    title: str
    """The title of the page."""
    parts: Mapping[str, str]
    """The parts that have changed, as HTML by name."""


class Watcher:
    """A watcher of the run at ``path``, which keeps the parts of the run's page. The run need not have begun.

    Between ``start`` and ``close``, a thread of its own looks at the run. ``changes`` may be called from any thread.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._title = ""
        self._parts: dict[str, str] = {}
        """The HTML of each part, by the part's name."""
        self._changed: dict[str, int] = {}
        """The version at which each part changed last."""
        self._version = 0
        self._asked_s = 0.0
        """When a page last asked for changes, by the monotonic clock."""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep_looking, name="run watcher", daemon=True)
        self._looking, self._rendering = Pace(LOOK_S, LOOK_SHARE), Pace(RENDER_S, RENDER_SHARE)
        self._next_idle_look_s = 0.0
        self._forget()

    def _forget(self) -> None:
        """Forget all that is known of the run, because its folder has no database and another run may begin there."""
        self._log = AttemptLog()
        self._shown_totals: Totals | None = None
        """The counts that the page shows."""
        self._tokens, self._done = RateMeter(), RateMeter()
        """The rates of generated tokens and of the innermost work."""
        self._work_name = ""
        """The name of the innermost work."""
        self._memory: MemoryMeter | None = None
        self._outline: Records | None = None
        self._stages_key: tuple[object, ...] = ()
        self._steps_key: tuple[object, ...] = ()
        self._rendered_key: tuple[object, ...] = ()
        """The stages key and the number of attempts for which the slow parts were rendered."""

    def start(self) -> None:
        """Look once, and go on looking in a thread. Raises SelfDebugError if there is a run that cannot be read."""
        self.look()
        # The page will be opened at once, so it counts as open already.
        self._asked_s = time.monotonic()
        self._thread.start()

    def close(self) -> None:
        """End the thread. A second call does nothing."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def changes(self, since: int = 0) -> Changes:
        """Return what has changed after the version ``since``. A page that calls this counts as open for ``OPEN_S`` seconds."""
        self._asked_s = time.monotonic()
        with self._lock:
            parts = {name: html for name, html in self._parts.items() if self._changed[name] > since}
            return Changes(self._version, self._title, parts)

    def look(self) -> None:
        """Look at the run, and bring the quick parts up to date. Raises SelfDebugError if there is a run that cannot be read."""
        state = read_state(self.path)
        with self._looking.working(limited=state.is_active):
            if state.phase == "waiting":
                self._forget()
                self._show(waiting(self.path), dict.fromkeys(page.PARTS, ""))
                return
            with open_stored(self.path, leave_nothing=True) as run:
                sight = self._see(run, state)
                parts = self._attempt_parts(run, state)
            records = self._memory.added_to(sight.records) if self._memory else sight.records
            self._show(describe(sight), {**parts, **page.quick_parts(records)})

    def render(self) -> None:
        """Bring the slow parts up to date, if something has changed. Raises SelfDebugError if the run cannot be read."""
        state = read_state(self.path)
        key = (*self._stages_key, self._log.totals.all.attempts)
        if state.phase == "waiting" or key == self._rendered_key:
            return
        with self._rendering.working(limited=state.is_active):
            with open_stored(self.path, leave_nothing=True) as run:
                records = read_records(run)
            self._publish(page.slow_parts(records))
            self._rendered_key = key

    def _keep_looking(self) -> None:
        """Look and render whenever that is due, until the watcher is closed. The thread runs this."""
        while not self._closed.wait(TICK_S):
            is_open = time.monotonic() - self._asked_s < OPEN_S
            if self._looking.is_due and (is_open or time.monotonic() >= self._next_idle_look_s):
                self._next_idle_look_s = time.monotonic() + IDLE_S
                self._call_or_show_error(self.look)
            if is_open and self._rendering.is_due:
                self._call_or_show_error(self.render)

    def _call_or_show_error(self, work: Callable[[], None]) -> None:
        """Call ``work``, and once more if it fails. If it fails again, show the error at the head of the page."""
        try:
            work()
            return
        except Exception:
            # While a process opens or closes the run, its database cannot be read for a moment.
            self._closed.wait(RETRY_S)
        try:
            work()
        except SelfDebugError as error:
            self._show(unreadable(error), {})
        except Exception as error:
            logger.exception("the page of %s could not be brought up to date", self.path)
            self._show(unreadable(SelfDebugError(f"unexpected {type(error).__name__}: {error}")), {})

    def _see(self, run: StoredRun, state: State) -> Sight:
        """Read what is new in the run, and measure its rates and its memory."""
        self._log.look(run)
        keys = tuple(run.query(_STAGES_KEY)[0]), tuple(run.query(_STEPS_KEY)[0])
        if self._outline is None or keys != (self._stages_key, self._steps_key):
            self._outline = read_outline(run)
            self._stages_key, self._steps_key = keys
        stage = stage_under_way(self._outline, state.work)
        self._measure(state, stage)
        return Sight(
            path=self.path,
            state=state,
            stage=stage,
            records=self._outline,
            totals=self._log.totals,
            tokens_per_s=self._tokens.per_s,
            done_per_s=self._done.per_s,
            memory=self._memory,
        )

    def _measure(self, state: State, stage: str | None) -> None:
        """Bring the rates and the memory up to date. Other work, another process or another stage begins a new measurement."""
        self._tokens.add(self._log.totals.all.n_tokens)
        work = state.work[-1] if state.work else None
        if work is None or work.name != self._work_name:
            self._done, self._work_name = RateMeter(), work.name if work else ""
        if work:
            self._done.add(work.done)
        if state.phase != "running" or state.holder is None or stage is None:
            self._memory = None
            return
        if self._memory is None or self._memory.holder != state.holder:
            self._memory = MemoryMeter(state.holder, stage, state.holder.since.timestamp())
        elif self._memory.stage != stage:
            self._memory = MemoryMeter(state.holder, stage, time.time())
        self._memory.look()

    def _attempt_parts(self, run: StoredRun, state: State) -> dict[str, str]:
        """Return the parts "repairs" and "arms", or nothing if no attempts are new. In a finished run both parts are empty."""
        if state.phase == "finished":
            self._shown_totals = None
            return {"repairs": "", "arms": ""}
        if self._shown_totals is self._log.totals:
            return {}
        self._shown_totals = self._log.totals
        newest = list(self._log.newest_repairs)
        repairs = run.attempts_by_id(newest)
        failed = run.attempts_by_id({repair.parent for repair in repairs.values()})
        pairs = [
            (failed[repairs[id_].parent], repairs[id_])
            for id_ in newest
            if id_ in repairs and repairs[id_].parent in failed
        ]
        return page.attempt_parts(self._log.totals, pairs)

    def _show(self, now: Now, parts: Mapping[str, str]) -> None:
        """Replace the head of the page and ``parts``."""
        self._publish({**parts, **page.head_parts(now)}, now.title)

    def _publish(self, parts: Mapping[str, str], title: str | None = None) -> None:
        """Replace parts of the page and, unless it is None, the title. Parts that are the same as before keep their version."""
        with self._lock:
            changed = {name: html for name, html in parts.items() if self._parts.get(name) != html}
            self._title = self._title if title is None else title
            self._version += bool(changed)
            self._parts |= changed
            self._changed |= dict.fromkeys(changed, self._version)
