"""Files: how many this process may have open; shared memory and connections need one each."""

from __future__ import annotations

import resource
from typing import Final

MOST_FILES: Final = 65_536


def allow_files(most: int = MOST_FILES) -> None:
    """As many open files as this user may have, up to `most`; where 1024 are usual, more have to be asked for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
