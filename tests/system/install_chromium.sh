#!/bin/sh
# The tests of the page drive a real Chromium; install Debian's when there is none and we may.
set -eu
if command -v chromium >/dev/null 2>&1 || [ -n "${CAMLINK_CHROMIUM:-}" ]; then
    exit 0
fi
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core
else
    echo "The tests of the page need Chromium: install the package 'chromium', or set CAMLINK_CHROMIUM to its path." >&2
    exit 1
fi
