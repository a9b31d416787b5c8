"""What users can see of the calls: hooks, the log, and hiding secrets in both."""
