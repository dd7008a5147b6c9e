from __future__ import annotations

from tests.models.conftest import repacked_alias

__all__ = ["repacked_alias"]
