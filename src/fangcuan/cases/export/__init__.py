"""A case as a folder for outsiders: BagIt and RO-Crate, a report, evidence, history with proofs, a script that verifies it."""
