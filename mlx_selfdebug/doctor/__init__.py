"""Whether this machine can do the work: one finding a fact, each with the command that mends it. Changes nothing.

for finding in examine():
    print(finding.state, finding.name, finding.value)
"""

from mlx_selfdebug.doctor.examine import examine
from mlx_selfdebug.doctor.finding import Finding

__all__ = ["Finding", "examine"]
