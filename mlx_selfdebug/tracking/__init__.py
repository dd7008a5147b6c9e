"""Send the figures of a run to trackers: trackio, wandb and TensorBoard.

    points.py          what is sent: the figures of a run as points, read from its records
    tracker.py         what a tracker is, its name on the command line, and whether it is installed
    to_tensorboard.py  event files in the folder of the run
    to_trackio.py      trackio's database on this machine, or the server or Space that the user has configured
    to_wandb.py        wandb, offline unless the user is logged in
    sending.py         sends what a tracker does not have yet
    following.py       a process of its own that sends while a run is under way

>>> with sd.Run("runs/first") as run, sd.track(run, "tensorboard"):                     # doctest: +SKIP
...     sd.collect(run, model, tasks)
"""

from mlx_selfdebug.tracking.following import track
from mlx_selfdebug.tracking.points import Point, PointReader
from mlx_selfdebug.tracking.sending import Sent, send_run
from mlx_selfdebug.tracking.tracker import TRACKERS, require_trackers

__all__ = ["TRACKERS", "Point", "PointReader", "Sent", "require_trackers", "send_run", "track"]
