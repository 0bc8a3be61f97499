"""Peers: adapters to other engines, so that they take part in a contest where they are installed."""
