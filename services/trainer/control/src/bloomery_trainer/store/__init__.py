"""The trainer's rows: jobs and their logs, attempts and what they completed, results, leases."""
