//! References → phases, in const evaluation: a model's phase comes after those of all models it
//! refers to, and the junctions come last.
//!
//! [`check`] holds the rules whose breaking is a compile error. Models that refer to each other
//! in a circle have no order; [`check::reference`] has reported them where their derives stand,
//! so [`phases`] only has to end, whatever it answers.

pub mod check;
mod cycle;
mod text;

use crate::schema::{Model, ModelKind, ModelRef};

/// How many references have a say in the order of `models`.
pub const fn edge_count(models: &[ModelRef]) -> usize {
    let mut count = 0;
    let mut from = 0;
    while from < models.len() {
        let model = models[from].get();
        let mut column = 0;
        while column < model.columns.len() {
            if ordering_target(model, column).is_some() {
                count += 1;
            }
            column += 1;
        }
        from += 1;
    }
    count
}

/// The phase of each of `models`: 0 for those that refer to nothing, and the longest path over
/// references for the others. Deferred references, references of a model to itself and to models
/// outside the list do not count.
///
/// `N` is the length of the list and `EDGES` its [`edge_count`].
pub const fn phases<const N: usize, const EDGES: usize>(models: &[ModelRef]) -> [u16; N] {
    let edges = edges::<EDGES>(models);
    let mut phases = [0; N];
    // The longest path has fewer than `N` edges, so `N` rounds are enough; without the bound a
    // circle would never settle.
    let mut round = 0;
    let mut settled = false;
    while !settled && round < N {
        settled = true;
        let mut edge = 0;
        while edge < EDGES {
            let (from, to) = edges[edge];
            if from != to && phases[from] <= phases[to] {
                phases[from] = phases[to] + 1;
                settled = false;
            }
            edge += 1;
        }
        round += 1;
    }
    let mut last = 0;
    let mut model = 0;
    while model < N {
        if !is_junction(models[model].get()) && phases[model] >= last {
            last = phases[model] + 1;
        }
        model += 1;
    }
    model = 0;
    while model < N {
        if is_junction(models[model].get()) {
            phases[model] = last;
        }
        model += 1;
    }
    phases
}

/// The references as positions in the list; one to a model outside of it leads to itself.
const fn edges<const EDGES: usize>(models: &[ModelRef]) -> [(usize, usize); EDGES] {
    let mut edges = [(0, 0); EDGES];
    let mut edge = 0;
    let mut from = 0;
    while from < models.len() {
        let model = models[from].get();
        let mut column = 0;
        while column < model.columns.len() {
            if let Some(target) = ordering_target(model, column) {
                let to = match position(models, target) {
                    Some(to) => to,
                    None => from,
                };
                edges[edge] = (from, to);
                edge += 1;
            }
            column += 1;
        }
        from += 1;
    }
    edges
}

/// The model that has to be loaded before this column's, if there is one.
const fn ordering_target(model: &Model, column: usize) -> Option<&'static Model> {
    match model.columns[column].reference {
        Some(reference) if !reference.deferred => {
            let target = reference.target.get();
            if target.same(model) { None } else { Some(target) }
        }
        _ => None,
    }
}

const fn position(models: &[ModelRef], model: &Model) -> Option<usize> {
    let mut position = 0;
    while position < models.len() {
        if models[position].get().same(model) {
            return Some(position);
        }
        position += 1;
    }
    None
}

const fn is_junction(model: &Model) -> bool {
    matches!(model.kind, ModelKind::Junction)
}
