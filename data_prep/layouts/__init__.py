"""What sources share: how folders, halves, lists and splits of a data set are read."""
