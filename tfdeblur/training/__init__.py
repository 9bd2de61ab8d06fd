"""The training engine: state, one replica's update, the loop, and what happens between loops."""
