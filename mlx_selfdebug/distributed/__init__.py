"""Let several machines work on one run, with MLX's own engine (``mx.distributed``).

launched.py    was this process launched as one of several? join the others
group.py       the ranks, and what they do in step: gather, agree, sum
exchange.py    messages that pass while each rank goes on with its work
files.py       a folder of rank 0, copied to the others
model.py       the model of a run: fetched once, and passed on to the machines that do not have it
measure.py     how fast the ranks are connected
"""

from mlx_selfdebug.distributed.group import ALONE, Group
from mlx_selfdebug.distributed.launched import join, launched_rank

__all__ = ["ALONE", "Group", "join", "launched_rank"]
