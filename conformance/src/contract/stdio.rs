//! Standard streams.

clauses! {}
