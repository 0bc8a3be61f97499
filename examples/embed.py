"""A run inside a program that has an event loop of its own: `python embed.py`; Ctrl-C ends both."""

import asyncio

import camlink
from camlink.display.live import Live
from camlink.display.terminal.demo import demo_workflow
from camlink.runtime.run import OpenRun


async def main() -> None:
    """Simulate a small scan, and do something else meanwhile."""
    small = {"beamline.points_y": 8, "beamline.points_x": 8, "solve.first_frames": 20, "solve.iterations": 15}
    live = Live()  # keeps the newest of every picture; leave it out when nobody looks
    async with camlink.open_run(demo_workflow("ptychography").with_values(small), screen=live) as run:
        watching = asyncio.create_task(watch(run, live))
        report = await run
        watching.cancel()
    print(f"{report.verdict}: {report.frames['delivered']} of {report.frames['expected']} frames, "
          f"kept in {report.folder}")


async def watch(run: OpenRun, live: Live) -> None:
    """What a program would do: look at the run on its own clock."""
    while True:
        await asyncio.sleep(1.0)
        if run.status is not None:
            pictures = ", ".join(f"{label.name} {label.version}" for label in live.labels())
            print(f"{run.status.frames.get('captured', 0)} frames captured; pictures: {pictures or 'none yet'}")


if __name__ == "__main__":
    asyncio.run(main())
