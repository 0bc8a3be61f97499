"""Programs as operators: any executable works underneath; it gets files or a stream and gives files or a stream."""
