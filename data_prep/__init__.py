"""Data preparation: builds sharded, checksummed data sets from raw images, and examines both."""
