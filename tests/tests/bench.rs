//! The benchmark as a program: its figures are complete, whatever schemas the tables are in.

use std::process::Command;

use serde_json::Value;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_nextcrm");

/// Runs it on very few documents; gives the figures of its only round.
fn bench(arguments: &[&str]) -> Value {
    let output = Command::new(EXECUTABLE)
        .args(["bench", "--scale", "0.05", "--rounds", "1", "--from", "dump", "--json"])
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    figures["rounds"][0].clone()
}

#[test]
fn tables_that_are_there_in_a_schema_of_their_own() {
    let round = bench(&["--existing", "--", "--schema", "c.r\"m"]);
    for figure in
        [&round["run"]["seconds"], &round["created"]["seconds"], &round["floor"]["seconds"]]
    {
        assert!(figure.as_f64().is_some_and(|seconds| seconds > 0.0), "{round}");
    }
    // Foreign keys were found and made again, those to tables of the same schema.
    assert!(round["floor"]["foreign_key_seconds"].as_f64() > Some(0.0), "{round}");
    for stage in
        ["waiting_for_source", "transform", "waiting_for_target", "taking_and_committing_chunks"]
    {
        assert!(round["load"][stage].as_f64() > Some(0.0), "{stage}: {round}");
    }
}

#[test]
fn one_model_after_those_that_it_refers_to() {
    let round = bench(&["--only", "Tasks", "--jobs", "2"]);
    assert!(round["created"].is_null(), "{round}");
    assert!(round["floor"]["seconds"].as_f64() > Some(0.0), "{round}");
}
