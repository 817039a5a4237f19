"""Pre-training: plans, the step, and runs that resume to the bit."""
