//! `migrate plan`: the models by phase and the references between them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use migrate_core::schema::{Model, ModelKind, RegistryFacts};

use crate::cli::PlanFormat;
use crate::html::graph::{self, Edge as Line, Graph, Node};

/// The plan of a registry as text, without a line break at its end.
pub(crate) fn plan(registry: &'static RegistryFacts, format: PlanFormat) -> String {
    let plan = Plan::new(registry);
    let text = match format {
        PlanFormat::Text => plan.text(),
        PlanFormat::Mermaid => plan.mermaid(),
        PlanFormat::Dot => plan.dot(),
        PlanFormat::Svg => graph::graph(&plan.graph(), true),
    };
    text.trim_end().to_owned()
}

/// The plan of a registry, ready to be drawn.
pub(super) fn drawing(registry: &'static RegistryFacts) -> Graph {
    Plan::new(registry).graph()
}

struct Plan {
    name: &'static str,
    phases: BTreeMap<u16, Vec<&'static Model>>,
}

/// A reference between two models, over one or more columns of the first.
struct Edge {
    from: &'static Model,
    to: &'static Model,
    columns: Vec<&'static str>,
    deferred: bool,
}

impl Plan {
    fn new(registry: &'static RegistryFacts) -> Self {
        let mut phases: BTreeMap<u16, Vec<_>> = BTreeMap::new();
        for (model, phase) in registry.iter() {
            phases.entry(phase).or_default().push(model);
        }
        Self { name: registry.name, phases }
    }

    fn models(&self) -> impl Iterator<Item = &'static Model> {
        self.phases.values().flatten().copied()
    }

    fn graph(&self) -> Graph {
        let models: Vec<&'static Model> = self.models().collect();
        let place = |model: &Model| models.iter().position(|other| other.same(model));
        Graph {
            phases: self
                .phases
                .values()
                .map(|models| models.iter().map(|model| node(model)).collect())
                .collect(),
            edges: self
                .models()
                .flat_map(edges)
                .filter_map(|edge| {
                    Some(Line {
                        from: place(edge.from)?,
                        to: place(edge.to)?,
                        columns: format!(
                            "{} ({}) refers to {}",
                            full_name(edge.from),
                            edge.columns.join(", "),
                            full_name(edge.to)
                        ),
                        deferred: edge.deferred,
                    })
                })
                .collect(),
        }
    }

    fn text(&self) -> String {
        let count = |kind| self.models().filter(|model| model.kind == kind).count();
        let children = match count(ModelKind::Child) {
            0 => String::new(),
            1 => ", 1 child table".to_owned(),
            children => format!(", {children} child tables"),
        };
        let mut text = format!(
            "{}: {}{children}, {}, {}\n",
            self.name,
            plural(count(ModelKind::Collection), "collection"),
            plural(count(ModelKind::Junction), "junction"),
            plural(self.phases.len(), "phase"),
        );
        let width = self.models().map(|model| full_name(model).len()).max().unwrap_or_default();
        for (phase, models) in &self.phases {
            let _ = writeln!(text, "\nphase {phase}");
            for model in models {
                let mut references: Vec<String> = edges(model)
                    .into_iter()
                    .map(|edge| {
                        let deferred = if edge.deferred { ", deferred" } else { "" };
                        format!("{} ({}{deferred})", full_name(edge.to), edge.columns.join(", "))
                    })
                    .collect();
                references.sort();
                let mut line = format!("  {:width$}", full_name(model));
                if !references.is_empty() {
                    let _ = write!(line, "  -> {}", references.join(", "));
                }
                let _ = writeln!(text, "{}", line.trim_end());
            }
        }
        text
    }

    fn mermaid(&self) -> String {
        let mut text = "flowchart RL\n".to_owned();
        for (phase, models) in &self.phases {
            let _ = writeln!(text, "  subgraph phase{phase}[\"phase {phase}\"]");
            for model in models {
                let label = full_name(model);
                // A junction is drawn with round ends.
                let (open, close) = match model.kind {
                    ModelKind::Collection | ModelKind::Child | ModelKind::Embedded => ("[", "]"),
                    ModelKind::Junction => ("([", "])"),
                };
                let _ = writeln!(text, "    {}{open}\"{label}\"{close}", model.name);
            }
            text.push_str("  end\n");
        }
        for edge in self.models().flat_map(edges) {
            let arrow = if edge.deferred { "-.->" } else { "-->" };
            let (from, to) = (edge.from.name, edge.to.name);
            let _ = writeln!(text, "  {from} {arrow}|\"{}\"| {to}", edge.columns.join(", "));
        }
        text
    }

    fn dot(&self) -> String {
        let quote = |name: &str| format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
        let mut text = format!(
            "digraph {} {{\n  rankdir=RL;\n  node [shape=box, fontname=\"sans-serif\"];\n",
            quote(self.name)
        );
        for (phase, models) in &self.phases {
            let _ =
                writeln!(text, "  subgraph cluster_phase{phase} {{\n    label=\"phase {phase}\";");
            for model in models {
                let style = match model.kind {
                    ModelKind::Collection | ModelKind::Child | ModelKind::Embedded => "",
                    ModelKind::Junction => " [style=rounded]",
                };
                let _ = writeln!(text, "    {}{style};", quote(&full_name(model)));
            }
            text.push_str("  }\n");
        }
        for edge in self.models().flat_map(edges) {
            let style = if edge.deferred { ", style=dashed" } else { "" };
            let _ = writeln!(
                text,
                "  {} -> {} [label={}{style}];",
                quote(&full_name(edge.from)),
                quote(&full_name(edge.to)),
                quote(&edge.columns.join(", "))
            );
        }
        text.push_str("}\n");
        text
    }
}

/// The references of a model, one for each model they point to.
fn edges(model: &'static Model) -> Vec<Edge> {
    let mut edges: Vec<Edge> = Vec::new();
    for column in model.columns {
        let Some(reference) = column.reference else { continue };
        let (to, deferred) = (reference.target.get(), reference.deferred);
        match edges.iter_mut().find(|edge| edge.to.same(to) && edge.deferred == deferred) {
            Some(edge) => edge.columns.push(column.name),
            None => edges.push(Edge { from: model, to, columns: vec![column.name], deferred }),
        }
    }
    edges
}

fn node(model: &Model) -> Node {
    Node {
        name: full_name(model),
        junction: model.kind == ModelKind::Junction,
        note: match model.kind {
            ModelKind::Collection | ModelKind::Embedded => {
                let names: Vec<&str> = model.collections().collect();
                match names.as_slice() {
                    [first @ .., last] if !first.is_empty() => {
                        format!(", from the collections {} and {last}", first.join(", "))
                    }
                    _ => format!(", from the collection {}", model.collection),
                }
            }
            ModelKind::Child => {
                let parent = model.parent().map_or("its parent", |(parent, _)| parent.table);
                format!(", elements of {parent}")
            }
            ModelKind::Junction => ", a junction".to_owned(),
        },
    }
}

fn full_name(model: &Model) -> String {
    match model.schema {
        Some(schema) => format!("{schema}.{}", model.table),
        None => model.table.to_owned(),
    }
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
