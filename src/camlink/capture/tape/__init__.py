"""Tape: blocks that a tap wrote, played again with their timing, and with faults added on demand."""
