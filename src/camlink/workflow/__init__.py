"""The plan of the way: operators, ports, parameters, graph, checks, drawings, text."""
