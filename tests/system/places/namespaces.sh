#!/bin/sh
# Sites on one machine, each in a network namespace, joined by one bridge and allowed to dial outward to the relay only.
#   namespaces.sh up PREFIX     laptop, beamline, head, node, relay: each is called PREFIX-NAME
#   namespaces.sh down PREFIX   ends what runs in them, and removes them
#   namespaces.sh cut PREFIX    the relay lets nothing through any more, not even what was joined; `mend` undoes it
# head and node share a second, private net (10.79.1.0/24) for their batch system. Needs root, iproute2 and nftables.
set -eu
what=$1 x=$2 port=8786 relay=10.79.0.9
PATH=$PATH:/usr/sbin:/sbin
names="laptop beamline head node relay"
[ "$(id -u)" -eq 0 ] || { echo "network namespaces need root" >&2; exit 3; }

wall() {  # NAME: in and out only what is said here
    ip netns exec "$x-$1" nft -f - <<RULES
table inet wall
flush table inet wall
table inet wall {
  chain in {
    type filter hook input priority 0; policy drop;
    iif lo accept
    $2
    ct state established,related accept
  }
  chain out {
    type filter hook output priority 0; policy drop;
    oif lo accept
    $3
    ct state established,related accept
  }
}
RULES
}

down() {
    for name in $names; do
        ip netns pids "$x-$name" 2>/dev/null | xargs -r kill -9 2>/dev/null || true
        ip netns del "$x-$name" 2>/dev/null || true
    done
    ip link del "$x" 2>/dev/null || true
}

case $what in
up)
    trap 'down' HUP INT TERM
    ip link add "$x" type bridge
    ip link set "$x" up
    number=5
    for name in $names; do
        ip netns add "$x-$name"
        ip -n "$x-$name" link set lo up
        ip link add "$x-$name" type veth peer name eth0 netns "$x-$name"
        ip link set "$x-$name" master "$x" up
        ip -n "$x-$name" addr add "10.79.0.$number/24" dev eth0
        ip -n "$x-$name" link set eth0 up
        number=$((number + 1))
    done
    ip -n "$x-head" link add inner0 type veth peer name inner0 netns "$x-node"
    for pair in head:1 node:2; do
        ip -n "$x-${pair%:*}" addr add "10.79.1.${pair#*:}/24" dev inner0
        ip -n "$x-${pair%:*}" link set inner0 up
    done
    outward="ip daddr $relay tcp dport $port accept"
    for name in laptop beamline; do wall $name "" "$outward"; done
    wall head "iifname inner0 accept" "oifname inner0 accept"
    wall node "iifname inner0 accept" "oifname inner0 accept
    $outward"
    wall relay "tcp dport $port accept" ""
    ;;
cut)
    ip netns exec "$x-relay" nft insert rule inet wall in iifname eth0 drop
    ip netns exec "$x-relay" nft insert rule inet wall out oifname eth0 drop
    ;;
mend)
    wall relay "tcp dport $port accept" ""
    ;;
down)
    down
    ;;
esac
