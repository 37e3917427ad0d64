"""A step log as a data set of another tool: Minari, LeRobot, d3rlpy. What is read is shown to be unchanged first."""
