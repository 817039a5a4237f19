"""Networks on disk: ours and Hugging Face's."""
