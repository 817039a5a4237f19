"""Zero-shot experiments of the GPT-2 paper. Models are reached as text: no ids here."""
