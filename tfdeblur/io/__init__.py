"""Files on any file system, output folders, and subprocesses."""
