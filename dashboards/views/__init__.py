"""One module per page; each has `page()`, which the navigation calls."""
