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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schema::{Column, Reference, Registry};
    use crate::{Migrate, registry};

    const N: usize = 6;

    /// A reference between two of `N` models.
    #[derive(Clone, Copy, Debug)]
    struct Edge {
        from: usize,
        to: usize,
        deferred: bool,
    }

    fn edges() -> impl Strategy<Value = Vec<Edge>> {
        let edge = (0..N, 0..N, prop::bool::weighted(0.2));
        prop::collection::vec(
            edge.prop_map(|(from, to, deferred)| Edge { from, to, deferred }),
            0..12,
        )
    }

    /// Models with those references.
    fn models(edges: &[Edge]) -> Vec<&'static Model> {
        let names = ["A", "B", "C", "D", "E", "F"];
        let empty =
            |name| Model { name, module: "test", collection: name, table: name, ..Model::EMPTY };
        let mut layers: Vec<&'static Model> =
            names.iter().map(|name| &*Box::leak(Box::new(empty(name)))).collect();
        // A reference leads to the model of an earlier round, which has the same name and so is
        // the same model. Each round is one step deeper than the last, and no search goes deeper
        // than there are models.
        for _ in 0..2 * N {
            layers = (0..N)
                .map(|from| {
                    let columns: Vec<Column> = edges
                        .iter()
                        .filter(|edge| edge.from == from)
                        .map(|edge| {
                            let reference = Reference::to(ModelRef::new(layers[edge.to]));
                            let reference =
                                if edge.deferred { reference.deferred() } else { reference };
                            Column::of::<bool>("c", "c", &[]).reference(reference)
                        })
                        .collect();
                    let columns: &'static [Column] = Box::leak(columns.into_boxed_slice());
                    &*Box::leak(Box::new(Model { columns, ..empty(names[from]) }))
                })
                .collect();
        }
        layers
    }

    /// The longest path from a model, or `None` when it leads into a circle.
    fn longest(edges: &[Edge], from: usize, depth: usize) -> Option<u16> {
        if depth > N {
            return None;
        }
        edges
            .iter()
            .filter(|edge| edge.from == from && edge.to != from && !edge.deferred)
            .map(|edge| Some(longest(edges, edge.to, depth + 1)? + 1))
            .try_fold(0, |most, length| Some(most.max(length?)))
    }

    proptest! {
        #[test]
        fn a_phase_is_the_longest_path(edges in edges()) {
            let expected: Option<Vec<u16>> =
                (0..N).map(|from| longest(&edges, from, 0)).collect();
            let models: Vec<ModelRef> = models(&edges).into_iter().map(ModelRef::new).collect();
            let found = phases::<N, 12>(&models);
            if let Some(expected) = expected {
                prop_assert_eq!(&found[..], &expected[..]);
            }
        }

        #[test]
        fn every_circle_is_found_and_only_circles_are(edges in edges()) {
            let models = models(&edges);
            let circular = (0..N).any(|from| longest(&edges, from, 0).is_none());
            let found: Vec<String> = models
                .iter()
                .flat_map(|model| (0..model.columns.len()).map(move |column| (model, column)))
                .filter_map(|(model, column)| cycle::find(model, column))
                .map(|text| text.as_str().to_owned())
                .collect();
            prop_assert_eq!(!found.is_empty(), circular, "{:?}", found);
            for path in &found {
                let way: Vec<usize> =
                    path.split(" -> ").map(|name| (name.as_bytes()[0] - b'A') as usize).collect();
                prop_assert_eq!(way.first(), way.last());
                prop_assert_eq!(way.iter().min(), way.first(), "told by the smallest name");
                for step in way.windows(2) {
                    let is_edge = |edge: &Edge| {
                        edge.from == step[0] && edge.to == step[1] && !edge.deferred
                    };
                    prop_assert!(edges.iter().any(is_edge), "{} is no path", path);
                }
            }
            let mut once = found.clone();
            once.sort();
            once.dedup();
            prop_assert_eq!(once.len(), found.len(), "each is told once");
        }
    }

    #[derive(Migrate)]
    struct Users {
        #[migrate(id)]
        id: i32,
        #[fk(Self)]
        boss: Option<i32>,
        #[fk(Teams, deferred)]
        team: Option<i32>,
    }

    #[derive(Migrate)]
    struct Teams {
        #[migrate(id)]
        id: i32,
        #[fk(Users)]
        leader: i32,
    }

    #[derive(Migrate)]
    struct Boards {
        #[migrate(id)]
        id: i32,
        #[fk(Teams)]
        team: i32,
        #[fk(Users)]
        owner: i32,
        #[junction(UsersToBoards)]
        watchers: Vec<i32>,
    }

    #[derive(Migrate)]
    #[migrate(junction)]
    struct UsersToBoards {
        #[fk(Users)]
        user: i32,
        #[fk(Boards)]
        board: i32,
    }

    registry! { Order = [UsersToBoards, Boards, Users, Teams] }
    registry! { OnlyJunction = [UsersToUsers, Users, Teams] }
    registry! { Empty = [] }

    #[derive(Migrate)]
    #[migrate(junction)]
    struct UsersToUsers {
        #[fk(Users)]
        one: i32,
        #[fk(Users)]
        other: i32,
    }

    #[test]
    fn junctions_come_last_and_deferred_references_do_not_count() {
        assert_eq!(Order::FACTS.phases, [3, 2, 0, 1]);
        assert_eq!(OnlyJunction::FACTS.phases, [2, 0, 1]);
        assert!(Empty::FACTS.phases.is_empty());
    }
}
