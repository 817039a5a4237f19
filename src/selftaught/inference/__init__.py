"""Text in, text and probabilities out: the one door through which experiments reach a model."""
