//! The `delete` action.

clauses! {}
