//! The search for models that refer to each other in a circle.

use super::ordering_target;
use super::text::Text;
use crate::schema::{Model, ModelRef, str_eq};

/// How many models one search may pass. What lies behind them is not searched.
const MOST_MODELS: usize = 512;

/// A circle that begins with this reference, as `Documents -> Tasks -> Documents`.
///
/// Only the model with the smallest name on it finds a circle, so that each is reported once:
/// the search passes no model with a smaller name than its own.
pub(super) const fn find(model: &'static Model, column: usize) -> Option<Text> {
    let first = match ordering_target(model, column) {
        Some(first) if less(model, first) => first,
        _ => return None,
    };
    // A second reference to the same model closes the same circle.
    let mut earlier = 0;
    while earlier < column {
        if let Some(target) = ordering_target(model, earlier)
            && target.same(first)
        {
            return None;
        }
        earlier += 1;
    }
    let mut found = [(ModelRef::new(first), 0); MOST_MODELS];
    let mut count = 1;
    let mut next = 0;
    while next < count {
        let here = found[next].0.get();
        let mut column = 0;
        while column < here.columns.len() {
            if let Some(target) = ordering_target(here, column) {
                if target.same(model) {
                    return Some(path(model, &found, next));
                }
                if less(model, target) && count < MOST_MODELS && !contains(&found, count, target) {
                    found[count] = (ModelRef::new(target), next);
                    count += 1;
                }
            }
            column += 1;
        }
        next += 1;
    }
    None
}

/// The way from `model` over what was found to the model at `last`, and back to `model`.
const fn path(model: &Model, found: &[(ModelRef, usize)], last: usize) -> Text {
    let mut way = [0; MOST_MODELS];
    let mut length = 1;
    way[0] = last;
    while way[length - 1] != 0 {
        way[length] = found[way[length - 1]].1;
        length += 1;
    }
    let mut text = Text::new(model.name);
    while length > 0 {
        length -= 1;
        text = text.and(" -> ").and(found[way[length]].0.get().name);
    }
    text.and(" -> ").and(model.name)
}

const fn contains(found: &[(ModelRef, usize)], count: usize, model: &Model) -> bool {
    let mut position = 0;
    while position < count {
        if found[position].0.get().same(model) {
            return true;
        }
        position += 1;
    }
    false
}

/// Whether `a` comes before `b` by name, and by module where the names are the same.
const fn less(a: &Model, b: &Model) -> bool {
    if str_less(a.name, b.name) {
        return true;
    }
    str_eq(a.name, b.name) && str_less(a.module, b.module)
}

const fn str_less(a: &str, b: &str) -> bool {
    // By patterns, as `str_eq` does.
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while let ([a_first, a_rest @ ..], [b_first, b_rest @ ..]) = (a, b) {
        if *a_first != *b_first {
            return *a_first < *b_first;
        }
        (a, b) = (a_rest, b_rest);
    }
    a.len() < b.len()
}
