"""Check whether this machine can do the work, and explain how to fix what is missing. Nothing is changed.

There is one finding per fact. A finding that is not ok says how to fix it.

    for finding in examine():
        print(finding.state, finding.name, finding.value)
"""

from mlx_selfdebug.doctor.examine import examine
from mlx_selfdebug.doctor.finding import Finding

__all__ = ["Finding", "examine"]
