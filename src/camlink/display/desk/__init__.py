"""The desk: a small page that lives long, from which workflows are started and that leads to their runs."""
