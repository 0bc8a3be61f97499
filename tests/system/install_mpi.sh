#!/bin/sh
# A compiler for MPI programs and mpirun, for the tests; needs root where they are not there.
set -eu
command -v mpicc >/dev/null && command -v mpirun >/dev/null && exit 0
[ "$(id -u)" = 0 ] || { echo "install openmpi-bin, libopenmpi-dev and a C compiler for the tests of programs" >&2; exit 0; }
apt-get -o DPkg::Lock::Timeout=300 update -qq
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
    openmpi-bin libopenmpi-dev gcc libc6-dev >/dev/null
