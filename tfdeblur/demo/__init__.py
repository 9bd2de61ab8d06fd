"""A page in the browser to try a network: drop a photo, compare, download."""
