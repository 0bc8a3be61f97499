#!/bin/sh
# What the tests of places need: Slurm, munge, sshd, network namespaces with nftables, MPI. Root only where it is not there.
set -eu
PATH=$PATH:/usr/sbin:/sbin
missing=
for program in slurmctld slurmd munged sshd nft ip; do command -v $program >/dev/null || missing=yes; done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
    echo "The tests of places need slurm-wlm, munge, openssh-server, nftables and iproute2; they are left out." >&2
    exit 0
fi
policy=/usr/sbin/policy-rc.d   # packages must not start daemons of the system
[ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' > $policy; chmod +x $policy; trap 'rm -f $policy' EXIT; }
apt-get -o DPkg::Lock::Timeout=300 update -qq
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
    slurm-wlm munge openssh-server nftables iproute2 >/dev/null
