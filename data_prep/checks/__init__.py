"""What the doctor looks at: names, layouts, pictures, pairs, whole sets, and built shards."""
