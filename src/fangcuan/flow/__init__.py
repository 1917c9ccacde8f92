"""Use cases: what DAGs, CLI and tests call."""
