"""One scan on several processes or GPUs, each with the frames of a tile and the object under them."""
