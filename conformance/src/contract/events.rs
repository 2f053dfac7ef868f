//! What the shim publishes.

clauses! {}
