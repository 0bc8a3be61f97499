"""A toy run over sites that notes when frames were delivered: apart_run.py SITES FOLDER FRAMES GAP_S."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from camlink.runtime.run import run
from camlink.runtime.status import RunStatus
from camlink.workflow.text import parse_workflow, put_over_sites

FLOW = """
workflow: apart
operators:
  camera: {use: camlink.testing.toys:camera, side: 64, frames: %s, gap_s: %s}
  count: {use: camlink.testing.toys:count, from: camera}
  add: {use: camlink.testing.toys:add, from: count}
"""


def main(sites: Path, folder: Path, frames: int, gap_s: float) -> None:
    """Run it; folder.seen gets a line whenever more frames are delivered, folder.json the report."""
    flow = put_over_sites(parse_workflow(FLOW % (frames, gap_s)), sites)
    with Path(f"{folder}.seen").open("w") as seen:
        known = [0]

        def watch(status: RunStatus) -> None:
            delivered = status.frames.get("delivered", 0)
            if delivered > known[0]:
                known[0] = delivered
                seen.write(json.dumps([time.monotonic(), delivered]) + "\n")
                seen.flush()

        run(flow, folder=folder, watch=watch).write(Path(f"{folder}.json"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
