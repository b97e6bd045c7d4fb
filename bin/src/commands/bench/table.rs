//! The figures of a benchmark for reading.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::measure::median;
use super::{Figures, Round, Scale};
use crate::reporter::rate::{bytes, thousands};

/// What was measured, and a column for each scale with its medians.
pub(super) fn text(figures: &Figures) -> String {
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    let mut line = |name: String, cell: &dyn Fn(&Scale) -> String| {
        lines.push((name, figures.scales.iter().map(cell).collect()));
    };
    let several = figures.scales.len() > 1;
    if several {
        line(String::new(), &|of| format!("scale {}", of.scale));
        line("measured".to_owned(), &|of| match of.rounds.len() {
            1 => "once".to_owned(),
            rounds => format!("{rounds} times"),
        });
        line("documents".to_owned(), &|of| thousands(of.documents));
        line("BSON".to_owned(), &|of| bytes(of.bytes));
        line("rows".to_owned(), &|of| thousands(of.rows));
        line("the floor's tables".to_owned(), &|of| bytes(of.floor_bytes));
    }
    let run = |of: &Scale| of.middle(|round| round.run.seconds);
    line("run, end to end".to_owned(), &|of| seconds(run(of)));
    line("floor".to_owned(), &|of| seconds(of.middle(|round| round.floor.seconds)));
    line("run / floor".to_owned(), &|of| {
        format!("{:.2}", of.middle(|round| round.run.seconds / round.floor.seconds))
    });
    let throughput = |of: &Scale| of.documents as f64 / run(of);
    line("documents per second".to_owned(), &|of| thousands(throughput(of) as u64));
    if several {
        let mean = mean(figures.scales.iter().map(throughput));
        line("throughput against its mean".to_owned(), &|of| percent(throughput(of) / mean));
        let alone = |of: &Scale| of.documents as f64 / of.middle(|round| round.floor.seconds);
        let mean = self::mean(figures.scales.iter().map(alone));
        line("the floor's against its mean".to_owned(), &|of| percent(alone(of) / mean));
    }
    line("BSON per second".to_owned(), &|of| {
        format!("{}/s", bytes((of.bytes as f64 / run(of)) as u64))
    });
    line("peak memory of the run".to_owned(), &|of| {
        bytes(of.rounds.iter().map(|round| round.run.peak_bytes).max().unwrap_or(0))
    });
    line("CPU of the run".to_owned(), &|of| seconds(of.middle(|round| round.run.cpu_seconds)));
    line("CPU of PostgreSQL".to_owned(), &|of| {
        seconds(of.middle(|round| round.postgresql_cpu_seconds))
    });
    if figures.source == "mongodb" {
        line("CPU of MongoDB".to_owned(), &|of| {
            seconds(of.middle(|round| round.mongodb_cpu_seconds))
        });
    }
    if figures.existing {
        let created = |round: &Round| round.created.map_or(f64::NAN, |cost| cost.seconds);
        line("run into tables that it makes".to_owned(), &|of| seconds(of.middle(created)));
        line("existing / made".to_owned(), &|of| {
            format!("{:.2}", of.middle(|round| round.run.seconds / created(round)))
        });
    }
    for stage in names(figures, |round| round.load.keys()) {
        // Of all workers together, who stand side by side.
        line(format!("load, all workers: {}", stage.replace('_', " ")), &|of| {
            seconds(of.middle(|round| round.load.get(stage).copied().unwrap_or_default()))
        });
    }
    for step in names(figures, |round| round.steps.keys()) {
        line(format!("run: {step}"), &|of| {
            seconds(of.middle(|round| round.steps.get(step).copied().unwrap_or_default()))
        });
    }
    line("floor: load".to_owned(), &|of| seconds(of.middle(|round| round.floor.load_seconds)));
    line("floor: indexes and keys".to_owned(), &|of| {
        seconds(of.middle(|round| round.floor.index_seconds))
    });
    line("floor: foreign keys".to_owned(), &|of| {
        seconds(of.middle(|round| round.floor.foreign_key_seconds))
    });
    if figures.scales.iter().flat_map(|of| &of.rounds).any(|round| round.validate.is_some()) {
        let validate =
            |of: &Scale| of.middle(|round| round.validate.map_or(f64::NAN, |cost| cost.seconds));
        line("validate".to_owned(), &|of| seconds(validate(of)));
        line("validate / run".to_owned(), &|of| format!("{:.2}", validate(of) / run(of)));
        line("peak memory of validate".to_owned(), &|of| {
            let peaks = of.rounds.iter().filter_map(|round| round.validate);
            bytes(peaks.map(|cost| cost.peak_bytes).max().unwrap_or(0))
        });
    }

    let mut text = format!("PostgreSQL {}, {} connections", figures.postgresql, figures.jobs);
    match &figures.scales[..] {
        [of] => {
            text.insert_str(
                0,
                &format!(
                    "{} documents ({}), {} rows; ",
                    thousands(of.documents),
                    bytes(of.bytes),
                    thousands(of.rows)
                ),
            );
            let _ = write!(text, "; floor of {}", bytes(of.floor_bytes));
        }
        _ => text.push_str("; medians"),
    }
    text.push_str("\n\n");
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let column = |place: usize| {
        let cells = lines.iter().filter_map(|(_, cells)| cells.get(place));
        cells.map(|cell| cell.len()).max().unwrap_or(0)
    };
    let columns: Vec<usize> = (0..figures.scales.len()).map(column).collect();
    for (name, cells) in &lines {
        let _ = write!(text, "{name:width$}");
        for (cell, width) in cells.iter().zip(&columns) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

impl Scale {
    /// The median of a figure over the rounds.
    fn middle(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(figure))
    }
}

/// The names that a figure has in any round, each once.
fn names<'a, I: Iterator<Item = &'a String>>(
    figures: &'a Figures,
    of: impl Fn(&'a Round) -> I,
) -> BTreeSet<&'a String> {
    figures.scales.iter().flat_map(|scale| &scale.rounds).flat_map(of).collect()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

fn seconds(value: f64) -> String {
    format!("{value:.2} s")
}

/// A ratio as a difference, as in `+7 %`.
fn percent(ratio: f64) -> String {
    format!("{:+.0} %", 100.0 * (ratio - 1.0))
}
