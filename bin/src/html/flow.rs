//! The balance as a flow: what was read on the left, what became of it on the right, each band as
//! thick as its count.

use std::fmt::Write as _;

use super::text::{escape, fit};
use crate::reporter::rate::thousands;

/// Where a band ends.
pub(super) struct Branch<'a> {
    pub(super) label: &'a str,
    pub(super) count: u64,
    /// The class that gives it its colour.
    pub(super) class: &'static str,
    /// What it is made of, the largest first.
    pub(super) parts: Vec<(String, u64)>,
}

const WIDTH: f64 = 960.0;
/// The height of the bar on the left, which stands for all.
const BODY: f64 = 190.0;
const BAR: f64 = 14.0;
/// A band is never thinner, so that one document in a million is seen.
const THINNEST: f64 = 3.0;
/// A label takes this much room, however thin its band is.
const LABEL: f64 = 34.0;
const PART: f64 = 21.0;
const MOST_PARTS: usize = 8;

/// The flow as SVG. Branches with nothing in them are left out.
pub(super) fn flow(title: &str, noun: &str, total: u64, branches: &[Branch<'_>]) -> String {
    let branches: Vec<&Branch<'_>> = branches.iter().filter(|branch| branch.count > 0).collect();
    let sum: u64 = branches.iter().map(|branch| branch.count).sum();
    if sum == 0 {
        return format!("<p class=\"none\">No {} were read.</p>\n", escape(noun));
    }
    let thickness = |count: u64| (BODY * count as f64 / sum as f64).max(THINNEST);
    // Places from top to bottom on the three sides; labels never share one.
    let (left, middle, right) = (190.0, 560.0, 700.0);
    let top = 16.0;
    let mut bands = String::new();
    let mut labels = String::new();
    let (mut from, mut to, mut part_top) = (top, top, top);
    let thick: f64 = branches.iter().map(|branch| thickness(branch.count)).sum();
    for branch in &branches {
        let height = thickness(branch.count);
        let share = share(branch.count, sum);
        let count = thousands(branch.count);
        let label = escape(branch.label);
        let _ = writeln!(
            bands,
            "<path class=\"band {}\" d=\"{}\"><title>{label}: {count} ({share})</title></path>\
             <rect class=\"bar {}\" x=\"{middle}\" y=\"{to:.1}\" width=\"{BAR}\" height=\"{height:.1}\"/>",
            branch.class,
            band(left + BAR, from, middle, to, height),
            branch.class,
        );
        let parts: Vec<(String, u64)> = shown(&branch.parts);
        let labelled = LABEL.max(height).max(parts.len() as f64 * PART);
        if parts.is_empty() {
            let _ = writeln!(
                labels,
                "<text class=\"strong\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>\
                 <text x=\"{:.1}\" y=\"{:.1}\">{count} <tspan class=\"soft\">{share}</tspan></text>",
                middle + BAR + 10.0,
                to + (height.min(60.0) / 2.0).max(8.0) + 1.0,
                middle + BAR + 10.0,
                to + (height.min(60.0) / 2.0).max(8.0) + 17.0,
            );
        } else {
            // In front of the parts, over the band that leads there.
            let _ = writeln!(
                labels,
                "<text class=\"strong end\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>\
                 <text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{count} <tspan class=\"soft\">{share}</tspan></text>",
                middle - 12.0,
                to + height + 18.0,
                middle - 12.0,
                to + height + 34.0,
            );
            let mut source = to;
            part_top = f64::max(part_top, to);
            for (name, count) in &parts {
                let share = *count as f64 / branch.count.max(1) as f64;
                let height = (height * share).max(1.5);
                let thick = height.clamp(1.5, PART - 4.0);
                let middle_of_part = part_top + PART / 2.0;
                let _ = writeln!(
                    bands,
                    "<path class=\"band {}\" d=\"{}\"/><rect class=\"bar {}\" x=\"{right}\" y=\"{:.1}\" width=\"5\" height=\"{thick:.1}\"/>",
                    branch.class,
                    band(middle + BAR, source, right, middle_of_part - thick / 2.0, thick),
                    branch.class,
                    middle_of_part - thick / 2.0,
                );
                let _ = writeln!(
                    labels,
                    "<text x=\"{:.1}\" y=\"{:.1}\">{}</text><text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    right + 12.0,
                    middle_of_part + 4.0,
                    escape(&fit(name, 24)),
                    WIDTH - 4.0,
                    middle_of_part + 4.0,
                    thousands(*count),
                );
                source += height;
                part_top += PART;
            }
        }
        from += height;
        let after_label = match parts.is_empty() {
            true => labelled,
            false => (height + 40.0).max(labelled),
        };
        to += after_label + 14.0;
        part_top = f64::max(part_top, to);
    }
    let height = f64::max(to, top + thick).max(part_top) + 6.0;
    let middle_of_left = top + thick / 2.0;
    format!(
        "<svg class=\"flow\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{}\">\n\
         {bands}<rect class=\"bar all\" x=\"{left}\" y=\"{top}\" width=\"{BAR}\" height=\"{thick:.1}\"/>\n\
         <text class=\"strong end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
         <text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n{labels}</svg>\n",
        escape(title),
        left - 12.0,
        middle_of_left - 2.0,
        escape(noun),
        left - 12.0,
        middle_of_left + 15.0,
        thousands(total),
    )
}

/// The largest parts, and the others as one.
fn shown(parts: &[(String, u64)]) -> Vec<(String, u64)> {
    if parts.len() <= MOST_PARTS {
        return parts.to_vec();
    }
    let (first, rest) = parts.split_at(MOST_PARTS - 1);
    let mut shown = first.to_vec();
    shown.push((format!("{} others", rest.len()), rest.iter().map(|(_, count)| count).sum()));
    shown
}

/// A band of the same height from one place to another, as a path.
fn band(from_x: f64, from_y: f64, to_x: f64, to_y: f64, height: f64) -> String {
    let bend = (from_x + to_x) / 2.0;
    format!(
        "M{from_x:.1} {from_y:.1}C{bend:.1} {from_y:.1} {bend:.1} {to_y:.1} {to_x:.1} {to_y:.1}\
         V{:.1}C{bend:.1} {:.1} {bend:.1} {:.1} {from_x:.1} {:.1}Z",
        to_y + height,
        to_y + height,
        from_y + height,
        from_y + height,
    )
}

/// A share in per cent; what is not nothing is never shown as 0, what is not all never as 100.
pub(super) fn share(count: u64, of: u64) -> String {
    if of == 0 || count == 0 {
        return "0%".to_owned();
    }
    let percent = 100.0 * count as f64 / of as f64;
    match percent {
        _ if count >= of => "100%".to_owned(),
        ..0.01 => "under 0.01%".to_owned(),
        ..10.0 => format!("{percent:.2}%"),
        ..99.95 => format!("{percent:.1}%"),
        _ => "over 99.9%".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_do_not_round_to_all_or_nothing() {
        for (count, of, text) in [
            (0, 0, "0%"),
            (0, 9, "0%"),
            (1, 1_000_000, "under 0.01%"),
            (1, 16, "6.25%"),
            (1, 2, "50.0%"),
            (999_999, 1_000_000, "over 99.9%"),
            (9, 9, "100%"),
        ] {
            assert_eq!(share(count, of), text);
        }
    }

    #[test]
    fn many_parts_become_few() {
        let parts: Vec<(String, u64)> = (0..12).map(|at| (at.to_string(), 12 - at)).collect();
        let shown = shown(&parts);
        assert_eq!(shown.len(), MOST_PARTS);
        assert_eq!(shown.last(), Some(&("5 others".to_owned(), 5 + 4 + 3 + 2 + 1)));
    }
}
