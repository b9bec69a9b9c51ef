"""Looking for bad records: what is damaged, impossible, illegal or doubtful."""
