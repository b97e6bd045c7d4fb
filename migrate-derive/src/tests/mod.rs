//! Expansions, with input and output in one snapshot.
