"""Plan, sequential tests and verdicts: from closed conversations to a decision."""
