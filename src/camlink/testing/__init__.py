"""Public fakes for tests of operators and plug-ins; never imported by product code."""
