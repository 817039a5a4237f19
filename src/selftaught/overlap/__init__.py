"""How much of a text stands in another: 8-grams (GPT-2 paper, section 4) and copied spans."""
