"""What is asked: examples made from text or read from data sets, and how answers are marked."""
