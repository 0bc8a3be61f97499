#!/bin/sh
# What the tests of programs run: MPI and a compiler, environment modules, containers; needs root where they are not there.
set -eu
all_there() {
    for command in mpicc mpirun podman catatonit runc busybox; do command -v "$command" >/dev/null || return 1; done
    bash -lc 'type module' >/dev/null 2>&1
}
all_there && exit 0
packages="openmpi-bin libopenmpi-dev gcc libc6-dev podman catatonit runc busybox-static environment-modules"
[ "$(id -u)" = 0 ] || { echo "install for the tests of programs: $packages" >&2; exit 0; }
apt-get -o DPkg::Lock::Timeout=300 update -qq
# shellcheck disable=SC2086  # a list of words
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends $packages >/dev/null
