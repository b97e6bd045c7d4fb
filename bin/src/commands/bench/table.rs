//! The figures of a benchmark for reading.

use std::fmt::Write as _;

use super::measure::median;
use super::{Figures, Round};
use crate::reporter::rate::{bytes, thousands};

/// Two columns: what was measured, and the median of the rounds.
pub(super) fn text(figures: &Figures) -> String {
    let middle = |value: &dyn Fn(&Round) -> f64| median(figures.rounds.iter().map(value));
    let run = middle(&|round| round.run.seconds);
    let floor = middle(&|round| round.floor.seconds);
    let ratio = middle(&|round| round.run.seconds / round.floor.seconds);
    let seconds = |value: f64| format!("{value:.2} s");
    let mut lines = vec![
        ("run, end to end".to_owned(), seconds(run)),
        ("floor".to_owned(), seconds(floor)),
        ("run / floor".to_owned(), format!("{ratio:.2}")),
        ("documents per second".to_owned(), thousands((figures.documents as f64 / run) as u64)),
        ("BSON per second".to_owned(), format!("{}/s", bytes((figures.bytes as f64 / run) as u64))),
        (
            "peak memory of the run".to_owned(),
            bytes(figures.rounds.iter().map(|round| round.run.peak_bytes).max().unwrap_or(0)),
        ),
        ("CPU of the run".to_owned(), seconds(middle(&|round| round.run.cpu_seconds))),
        ("CPU of PostgreSQL".to_owned(), seconds(middle(&|round| round.postgresql_cpu_seconds))),
    ];
    if figures.source == "mongodb" {
        lines.push((
            "CPU of MongoDB".to_owned(),
            seconds(middle(&|round| round.mongodb_cpu_seconds)),
        ));
    }
    let created = figures.rounds.iter().filter_map(|round| {
        let created = round.created?.seconds;
        Some((created, round.run.seconds / created))
    });
    let (created, ratios): (Vec<f64>, Vec<f64>) = created.unzip();
    if !created.is_empty() {
        lines.push(("run into tables that it makes".to_owned(), seconds(median(created))));
        lines.push(("existing / made".to_owned(), format!("{:.2}", median(ratios))));
    }
    let mut stages: Vec<&String> =
        figures.rounds.iter().flat_map(|round| round.load.keys()).collect();
    stages.sort();
    stages.dedup();
    for stage in stages {
        // Of all workers together, who stand side by side.
        let value = middle(&|round| round.load.get(stage).copied().unwrap_or_default());
        lines.push((format!("load, all workers: {}", stage.replace('_', " ")), seconds(value)));
    }
    let mut steps: Vec<&String> =
        figures.rounds.iter().flat_map(|round| round.steps.keys()).collect();
    steps.sort();
    steps.dedup();
    for step in steps {
        let value = middle(&|round| round.steps.get(step).copied().unwrap_or_default());
        lines.push((format!("run: {step}"), seconds(value)));
    }
    lines.push(("floor: load".to_owned(), seconds(middle(&|round| round.floor.load_seconds))));
    lines.push((
        "floor: indexes and keys".to_owned(),
        seconds(middle(&|round| round.floor.index_seconds)),
    ));
    lines.push((
        "floor: foreign keys".to_owned(),
        seconds(middle(&|round| round.floor.foreign_key_seconds)),
    ));
    let validations: Vec<_> = figures.rounds.iter().filter_map(|round| round.validate).collect();
    if !validations.is_empty() {
        let validate = median(validations.iter().map(|cost| cost.seconds));
        lines.push(("validate".to_owned(), seconds(validate)));
        lines.push(("validate / run".to_owned(), format!("{:.2}", validate / run)));
        let peak = validations.iter().map(|cost| cost.peak_bytes).max().unwrap_or(0);
        lines.push(("peak memory of validate".to_owned(), bytes(peak)));
    }
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let values = lines.iter().map(|(_, value)| value.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in lines {
        let _ = writeln!(text, "{name:width$}  {value:>values$}");
    }
    text.truncate(text.trim_end().len());
    text
}
