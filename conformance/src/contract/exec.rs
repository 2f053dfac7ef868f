//! The calls about execs.

clauses! {}
