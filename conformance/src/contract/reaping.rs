//! Processes, zombies and orphans.

clauses! {}
