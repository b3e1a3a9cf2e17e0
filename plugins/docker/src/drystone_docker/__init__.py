"""Runs the steps of Drystone in containers of a Docker engine, from images that it builds."""
