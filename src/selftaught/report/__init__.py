"""What is shown: records of results, the papers' printed numbers, tables, figures and the page."""
