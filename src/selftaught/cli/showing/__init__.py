"""What `selftaught show` says of each kind of file and folder that the verbs write."""
