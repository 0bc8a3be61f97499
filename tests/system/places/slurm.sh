#!/bin/sh
# A Slurm of two virtual nodes on this machine, for tests: own keys, sockets and ports, no system service is touched.
#   slurm.sh up FOLDER PORT     then: export SLURM_CONF=FOLDER/slurm.conf
#   slurm.sh up FOLDER PORT ADDRESS NODES RUN...   slurmctld at ADDRESS, its nodes at the address NODES, started by RUN
#   slurm.sh down FOLDER        ends what `up` started, and nothing else
# PORT is the one of slurmctld; the nodes listen at PORT+1 and PORT+2. Works without root once the packages are there.
set -eu
what=$1 folder=$2
PATH=$PATH:/usr/sbin:/sbin
export SLURM_CONF="$folder/slurm.conf"

end() {  # PIDFILE: ask, then insist
    [ -s "$1" ] || return 0
    pid=$(cat "$1")
    kill "$pid" 2>/dev/null || return 0
    for _ in $(seq 60); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
}

if [ "$what" = down ]; then
    [ -f "$SLURM_CONF" ] || exit 0
    timeout 5 scancel --user "$(id -un)" 2>/dev/null || true
    for file in "$folder"/pid/node1 "$folder"/pid/node2 "$folder"/pid/controller "$folder"/pid/munged; do end "$file" & done
    wait
    exit 0
fi

port=$3 me=$(id -un) host=$(hostname -s)
address=${4:-127.0.0.1} nodes=${5:-127.0.0.1}
[ $# -le 5 ] && shift $# || shift 5   # what is left starts a node
mkdir -p "$folder/pid" "$folder/state" "$folder/log" "$folder/spool/node1" "$folder/spool/node2"
chmod 755 "$folder"
( umask 077; mkdir -p "$folder/munge"; head -c 512 /dev/urandom > "$folder/munge/key" )
eval "$(slurmd -C | tr ' ' '\n' | grep -E '^(CPUs|RealMemory)=')"

cat > "$SLURM_CONF" <<CONF
ClusterName=camlink
SlurmctldHost=$host($address)
SlurmctldPort=$port
SlurmUser=$me
SlurmdUser=$me
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/pid/controller
SlurmdPidFile=$folder/pid/%n
SlurmctldLogFile=$folder/log/controller
SlurmdLogFile=$folder/log/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
GresTypes=gpu
ReturnToService=2
KillWait=3
MinJobAge=300
MessageTimeout=30
TCPTimeout=10
BatchStartTimeout=60
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
NodeName=node1 NodeHostname=$host NodeAddr=$nodes Port=$((port + 1)) CPUs=$CPUs RealMemory=$((RealMemory / 3)) Gres=gpu:1 State=UNKNOWN
NodeName=node2 NodeHostname=$host NodeAddr=$nodes Port=$((port + 2)) CPUs=$CPUs RealMemory=$((RealMemory / 3)) Gres=gpu:1 State=UNKNOWN
PartitionName=all Nodes=node1,node2 Default=YES MaxTime=60 State=UP
CONF
printf 'NodeName=node[1-2] Name=gpu File=/dev/null\n' > "$folder/gres.conf"   # as good as a GPU for who only asks
printf 'CgroupPlugin=cgroup/v1\n' > "$folder/cgroup.conf"   # slurmd looks for it beside its configuration

munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/pid/munged" \
    --log-file="$folder/log/munged" --seed-file="$folder/munge/seed" --num-threads=2
slurmctld -f "$SLURM_CONF"
for node in node1 node2; do "$@" slurmd -f "$SLURM_CONF" -N $node; done
until_s=$(($(date +%s) + 80))
while [ "$(date +%s)" -lt $until_s ]; do
    [ "$(timeout 10 sinfo --noheader --Node --format=%T 2>/dev/null | sort -u)" = idle ] && exit 0
    sleep 0.2
done
echo "the nodes did not become idle:" >&2
tail -n 20 "$folder"/log/* >&2
exit 1
