"""Links through shared memory on one host."""
