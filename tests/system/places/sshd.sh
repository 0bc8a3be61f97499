#!/bin/sh
# An sshd on loopback for tests, with a host key and one user key of its own.
#   sshd.sh up FOLDER PORT      keys in FOLDER: id (may log in), known_hosts (names the server)
#   sshd.sh down FOLDER PORT
set -eu
what=$1 folder=$2 port=$3
if [ "$what" = down ]; then
    [ -s "$folder/$port.pid" ] && kill "$(cat "$folder/$port.pid")" 2>/dev/null
    exit 0
fi
umask 077
mkdir -p "$folder"
[ "$(id -u)" -ne 0 ] || mkdir -p -m 0755 /run/sshd   # where a root sshd separates its privileges
[ -f "$folder/id" ] || ssh-keygen -q -t ed25519 -N '' -C camlink-test -f "$folder/id"
[ -f "$folder/host-$port" ] || ssh-keygen -q -t ed25519 -N '' -f "$folder/host-$port"
cat > "$folder/$port.conf" <<CONF
ListenAddress 127.0.0.1
Port $port
HostKey $folder/host-$port
PidFile $folder/$port.pid
AuthorizedKeysFile $folder/id.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding yes
AllowAgentForwarding yes
GatewayPorts no
MaxSessions 50
MaxStartups 100
Subsystem sftp internal-sftp
CONF
rm -f "$folder/$port.pid"
"$(PATH=$PATH:/usr/sbin command -v sshd)" -f "$folder/$port.conf" -E "$folder/$port.log"
tries=0
until [ -s "$folder/$port.pid" ]; do   # it is written when sshd listens; the command ends before
    tries=$((tries + 1))
    [ $tries -le 300 ] || { echo "sshd does not listen at port $port:" >&2; cat "$folder/$port.log" >&2; exit 1; }
    sleep 0.1
done
echo "[127.0.0.1]:$port $(cut -d' ' -f1,2 "$folder/host-$port.pub")" >> "$folder/known_hosts"
