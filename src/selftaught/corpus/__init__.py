"""Where text comes from: links, pages, folders -> clean documents, split into train and held-out, every drop explained."""
