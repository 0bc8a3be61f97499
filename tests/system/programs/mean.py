"""A program that gets a stream of blocks and gives the running mean of every block; needs nothing of camlink."""

import json
import math
import sys

import numpy as np

source, sink = sys.stdin.buffer, sys.stdout.buffer
while line := source.readline():
    arrays = {}
    for name, dtype, shape in json.loads(line)["arrays"]:
        data = source.read(math.prod(shape) * np.dtype(dtype).itemsize)
        arrays[name] = np.frombuffer(data, dtype).reshape(shape)
    mean = arrays["frames"].mean(axis=0, dtype=np.float64)
    head = {"arrays": [["object", mean.dtype.str, mean.shape]], "facts": {"frame": int(arrays["index"][0])}}
    sink.write(json.dumps(head).encode() + b"\n" + mean.tobytes())
    sink.flush()
