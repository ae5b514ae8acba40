"""What ``debug.py --step`` runs: `steps` checks one component each, `bench` makes their data."""
