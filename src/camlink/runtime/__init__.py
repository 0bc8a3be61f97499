"""The machine that moves the frame: state machine, master, agents, workers, placers."""
