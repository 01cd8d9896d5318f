"""Which endpoints there are: from configuration, target files and DNS to a plan."""
