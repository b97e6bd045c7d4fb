//! The time of a run without its pauses: a run that was stopped overnight is drawn as if it had gone
//! on at once, with a mark where it stood still.

use std::fmt::Write as _;

/// Maps seconds since the beginning of a run to seconds at work.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// Begin and end of each stretch of work, and how much of work or mark lies before it.
    stretches: Vec<(f64, f64, f64)>,
    /// The length of the whole picture in seconds.
    pub(super) total: f64,
    /// Where a pause is marked, and how long it was.
    pub(super) pauses: Vec<(f64, f64)>,
}

impl Clock {
    /// A shorter pause is drawn as long as it was.
    const SHORTEST_PAUSE: f64 = 10.0;

    /// The clock of a run in which something was done in those spans.
    pub(super) fn new(spans: impl Iterator<Item = (f64, f64)>) -> Self {
        let mut spans: Vec<(f64, f64)> =
            spans.filter(|(begun, done)| begun.is_finite() && done >= begun).collect();
        spans.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut merged: Vec<(f64, f64)> = Vec::new();
        for (begun, done) in spans {
            match merged.last_mut() {
                Some(last) if begun - last.1 < Self::SHORTEST_PAUSE => last.1 = last.1.max(done),
                _ => merged.push((begun, done)),
            }
        }
        let busy: f64 = merged.iter().map(|(begun, done)| done - begun).sum();
        // Wide enough to be seen.
        let mark = busy * 0.02;
        let mut clock = Self::default();
        let mut before = 0.0;
        let mut end: Option<f64> = None;
        for (begun, done) in merged {
            if let Some(end) = end {
                clock.pauses.push((before + mark / 2.0, begun - end));
                before += mark;
            }
            clock.stretches.push((begun, done, before));
            before += done - begun;
            end = Some(done);
        }
        clock.total = before;
        clock
    }

    /// The place of a moment in the picture.
    pub(super) fn at(&self, moment: f64) -> f64 {
        let mut place = 0.0;
        for (begun, done, before) in &self.stretches {
            if moment < *begun {
                return place;
            }
            place = before + (moment.min(*done) - begun);
        }
        place
    }
}

/// From when to when something was done, and the class that gives it its colour.
pub(super) type Span = (f64, f64, &'static str);

/// Strips of a picture that is so many columns wide, however many spans there are: a column is
/// filled when something was done in it.
pub(super) fn strip(clock: &Clock, spans: &[Span]) -> String {
    const COLUMNS: usize = 600;
    let mut columns: Vec<Option<&'static str>> = vec![None; COLUMNS];
    let scale = COLUMNS as f64 / clock.total.max(1e-9);
    for (begun, done, class) in spans {
        let first = ((clock.at(*begun) * scale) as usize).min(COLUMNS - 1);
        let last = ((clock.at(*done) * scale) as usize).clamp(first, COLUMNS - 1);
        columns[first..=last].fill(Some(class));
    }
    let mut svg = format!(
        "<svg class=\"strip\" viewBox=\"0 0 {COLUMNS} 12\" preserveAspectRatio=\"none\" aria-hidden=\"true\">"
    );
    let mut at = 0;
    while at < COLUMNS {
        let class = columns[at];
        let length = columns[at..].iter().take_while(|other| **other == class).count();
        if let Some(class) = class {
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{at}\" y=\"0\" width=\"{length}\" height=\"12\"/>"
            );
        }
        at += length;
    }
    svg.push_str("</svg>");
    svg
}

/// So much per second, in so many equal parts of the picture; each span gives its amount evenly.
pub(super) fn per_second(
    clock: &Clock,
    parts: usize,
    spans: impl Iterator<Item = (f64, f64, f64)>,
) -> Vec<f64> {
    let width = clock.total / parts.max(1) as f64;
    let mut sums = vec![0.0; parts];
    if width <= 0.0 {
        return sums;
    }
    for (begun, done, amount) in spans {
        let (begun, done) = (clock.at(begun), clock.at(done));
        let first = ((begun / width) as usize).min(parts - 1);
        let last = ((done / width) as usize).clamp(first, parts - 1);
        let length = (done - begun).max(1e-9);
        for (part, sum) in sums.iter_mut().enumerate().take(last + 1).skip(first) {
            let from = begun.max(part as f64 * width);
            let to = done.min((part + 1) as f64 * width);
            let share = if first == last { 1.0 } else { ((to - from) / length).max(0.0) };
            *sum += amount * share / width;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_cut_out_and_marked() {
        let clock = Clock::new([(0.0, 10.0), (5.0, 50.0), (3_600.0, 3_650.0)].into_iter());
        assert_eq!(clock.total, 102.0);
        assert_eq!(clock.pauses, [(51.0, 3_550.0)]);
        assert_eq!(clock.at(20.0), 20.0);
        assert_eq!(clock.at(1_000.0), 50.0);
        assert_eq!(clock.at(3_600.0), 52.0);
        assert_eq!(clock.at(9_999.0), 102.0);
        assert_eq!(Clock::new(std::iter::empty()).total, 0.0);
    }

    #[test]
    fn amounts_are_kept() {
        let clock = Clock::new([(0.0, 8.0)].into_iter());
        let parts = per_second(&clock, 4, [(0.0, 8.0, 80.0), (7.9, 8.0, 20.0)].into_iter());
        assert_eq!(parts.iter().map(|rate| rate * 2.0).sum::<f64>().round(), 100.0);
        assert_eq!(parts[0], 10.0);
        assert!(
            per_second(&Clock::default(), 4, std::iter::empty()).iter().all(|rate| *rate == 0.0)
        );
    }

    #[test]
    fn a_strip_stays_small() {
        let clock = Clock::new([(0.0, 100.0)].into_iter());
        let spans: Vec<_> =
            (0..100_000).map(|at| (f64::from(at) / 1e3, f64::from(at) / 1e3, "load")).collect();
        assert_eq!(strip(&clock, &spans).matches("<rect").count(), 1);
    }
}
