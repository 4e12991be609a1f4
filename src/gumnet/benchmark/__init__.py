"""What `gumnet benchmark` measures: accuracy, averages and speed of every method, on this machine."""
