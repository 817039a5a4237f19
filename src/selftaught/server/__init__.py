"""Language models over HTTP: an API that the usual clients speak, and a page to play with."""
