"""The levels of AtomicValidator, one per file, in the order they run: parsing, contract, lint, type_check, trials."""
