"""What the commands of the command line do; one file a command, each called by ``fpo_pilot.cli``."""
