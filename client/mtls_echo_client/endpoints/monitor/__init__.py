"""Which endpoints answer: one worker for each, kept to the plan."""
