//! The benchmark as a program: its figures are complete, whatever schemas the tables are in.

use std::process::Command;

use serde_json::Value;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_nextcrm");

/// Runs it for one round; gives what it writes to its output, and to its errors.
fn run(arguments: &[&str]) -> (Vec<u8>, String) {
    let output = Command::new(EXECUTABLE)
        .args(["bench", "--rounds", "1", "--from", "dump"])
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    (output.stdout, errors.into_owned())
}

/// Runs it on very few documents; gives the figures of its only round.
fn bench(arguments: &[&str]) -> Value {
    let (output, _) = run(&[&["--scale", "0.05", "--json"], arguments].concat());
    let figures: Value = serde_json::from_slice(&output).unwrap();
    figures["scales"][0]["rounds"][0].clone()
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
    // By its table; the struct is `CrmContacts`.
    let round = bench(&["--only", "crm_Contacts", "--jobs", "2"]);
    assert!(round["created"].is_null(), "{round}");
    assert!(round["floor"]["seconds"].as_f64() > Some(0.0), "{round}");
}

#[test]
fn several_scales_stand_side_by_side() {
    let (output, errors) = run(&["--scale", "0.05,0.2,0.1", "--only", "Tasks"]);
    // The smallest is measured twice, before and after the others.
    let rounds: Vec<&str> = errors
        .lines()
        .filter_map(|line| line.split_once("round 1 of 1, scale ")?.1.split_once(": run "))
        .map(|(scale, _)| scale)
        .collect();
    assert_eq!(rounds, ["0.05, 1 of 2", "0.2", "0.1", "0.05, 2 of 2"], "{errors}");
    let table = String::from_utf8(output).unwrap();
    let cells = |name: &str| -> Vec<f64> {
        let line = table.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let cells = line.split("  ").map(|cell| cell.trim().trim_end_matches(" %"));
        let cells = cells.filter(|cell| !cell.is_empty());
        cells.map(|cell| cell.replace(',', "").parse().unwrap()).collect()
    };
    let documents = cells("documents ");
    assert!(documents[0] < documents[2] && documents[2] < documents[1], "{table}");
    // A figure's distance from the mean, worked out from what is printed.
    let throughput = cells("documents per second");
    let mean = throughput.iter().sum::<f64>() / 3.0;
    for (one, percent) in throughput.iter().zip(cells("throughput against its mean")) {
        assert!((100.0 * (one / mean - 1.0) - percent).abs() < 1.0, "{table}");
    }
    let floor: f64 = cells("the floor's against its mean").iter().sum();
    assert!(floor.abs() < 2.0, "{table}");
}
