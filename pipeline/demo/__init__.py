"""A made-up migration, live: provider simulators and traffic that goes through the real path."""
