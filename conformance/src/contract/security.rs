//! Who may reach what.

clauses! {}
