"""GPT-1's transfer: a pre-trained network with a linear layer learns labelled tasks; its ablations."""
