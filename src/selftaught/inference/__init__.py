"""Text in, text out: log-probabilities, sampling and generation behind one door, `language_model`."""
