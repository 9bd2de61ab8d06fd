"""Published training runs, one YAML file each: data, not code."""
