"""Real services that tests start on the loopback address of this machine, and stop again."""
