"""FastCCD: the camera of COSMIC and CSX, from UDP datagrams to frames, and its simulator."""
