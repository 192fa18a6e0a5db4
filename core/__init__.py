"""The words that every room speaks: requests, plans, jobs, events, errors, folders."""
