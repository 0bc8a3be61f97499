"""The experiment that makes the light."""
