"""The work queue: promises of results, the threads that do the work, and the numbers that requests carry."""
