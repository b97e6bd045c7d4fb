//! What the compiler says about each mistake in a model: one small program per rule, with the
//! messages that a user reads. `TRYBUILD=overwrite cargo test -p migrate-ui-tests` writes
//! them anew.

#[test]
fn messages() {
    trybuild::TestCases::new().compile_fail("tests/ui/*/*.rs");
}
