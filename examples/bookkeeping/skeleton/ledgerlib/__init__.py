"""ledgerlib: double-entry bookkeeping with a small query language."""
