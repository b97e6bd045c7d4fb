//! The references between tables as a drawing: a column for each phase of the plan, so that every
//! arrow but a deferred one points to the left.

use std::fmt::Write as _;

use super::text::{escape, fit};

/// A registry as a drawing needs it.
pub(crate) struct Graph {
    /// The tables of each phase; with each, whether it is a junction.
    pub(crate) phases: Vec<Vec<Node>>,
    /// From the table that refers to the one it refers to, by their places in all phases.
    pub(crate) edges: Vec<Edge>,
}

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) junction: bool,
    /// A line for whoever points at it.
    pub(crate) note: String,
}

pub(crate) struct Edge {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) columns: String,
    pub(crate) deferred: bool,
}

const BOX_HEIGHT: f64 = 22.0;
const ROW: f64 = 29.0;
const GAP: f64 = 58.0;
const HEAD: f64 = 34.0;
const CHAR: f64 = 6.1;
const MOST_CHARS: usize = 32;

/// The drawing. `standalone` is a file of its own: with its namespace and its colours.
pub(crate) fn graph(graph: &Graph, standalone: bool) -> String {
    let places = order(graph);
    let widths: Vec<f64> = graph
        .phases
        .iter()
        .map(|nodes| {
            let longest = nodes.iter().map(|node| node.name.chars().count().min(MOST_CHARS)).max();
            longest.unwrap_or_default() as f64 * CHAR + 18.0
        })
        .collect();
    let mut x = 4.0;
    let lefts: Vec<f64> = widths
        .iter()
        .map(|width| {
            let left = x;
            x += width + GAP;
            left
        })
        .collect();
    let width = (x - GAP + 4.0).max(120.0);
    let rows = graph.phases.iter().map(Vec::len).max().unwrap_or_default();
    let height = HEAD + rows as f64 * ROW + 6.0;
    // Shorter columns stand in the middle of the longest.
    let y_of = |phase: usize, place: usize| {
        let free = (rows - graph.phases[phase].len()) as f64 * ROW / 2.0;
        HEAD + free + place as f64 * ROW
    };
    let phase_of: Vec<usize> = graph
        .phases
        .iter()
        .enumerate()
        .flat_map(|(phase, nodes)| std::iter::repeat_n(phase, nodes.len()))
        .collect();

    let mut svg = String::new();
    let namespace = if standalone { " xmlns=\"http://www.w3.org/2000/svg\"" } else { "" };
    let _ = writeln!(
        svg,
        "<svg{namespace} class=\"graph\" viewBox=\"0 0 {width:.0} {height:.0}\" style=\"min-width:{:.0}px\" role=\"img\" aria-label=\"tables by phase and the references between them\">",
        width * 0.7
    );
    if standalone {
        let _ = writeln!(svg, "<style>{STYLE}</style>");
    }
    for (phase, left) in lefts.iter().enumerate() {
        let _ = writeln!(
            svg,
            "<text class=\"phase\" x=\"{:.1}\" y=\"16\">phase {phase}</text>",
            left + widths[phase] / 2.0
        );
    }
    for edge in &graph.edges {
        let (Some(&from), Some(&to)) = (phase_of.get(edge.from), phase_of.get(edge.to)) else {
            continue;
        };
        let (y1, y2) = (
            y_of(from, places[edge.from]) + BOX_HEIGHT / 2.0,
            y_of(to, places[edge.to]) + BOX_HEIGHT / 2.0,
        );
        let class = if edge.deferred { "edge deferred" } else { "edge" };
        let path = if from == to {
            // A reference within a phase, as of a table to itself: around the right side.
            let x = lefts[from] + widths[from];
            let out = x + GAP * 0.45;
            format!(
                "M{x:.1} {y1:.1}C{out:.1} {:.1} {out:.1} {:.1} {x:.1} {:.1}",
                y1 + 8.0,
                y2 - 8.0,
                y2 - 4.0
            )
        } else {
            let (x1, x2) = match from > to {
                true => (lefts[from], lefts[to] + widths[to]),
                false => (lefts[from] + widths[from], lefts[to]),
            };
            let pull = if from > to { -GAP * 0.55 } else { GAP * 0.55 };
            format!(
                "M{x1:.1} {y1:.1}C{:.1} {y1:.1} {:.1} {y2:.1} {x2:.1} {y2:.1}",
                x1 + pull,
                x2 - pull
            )
        };
        let _ = writeln!(
            svg,
            "<path class=\"{class}\" d=\"{path}\"><title>{}</title></path>",
            escape(&edge.columns)
        );
    }
    let mut index = 0;
    for (phase, nodes) in graph.phases.iter().enumerate() {
        for node in nodes {
            let y = y_of(phase, places[index]);
            let (class, round) = match node.junction {
                true => ("box junction", BOX_HEIGHT / 2.0),
                false => ("box", 4.0),
            };
            let _ = writeln!(
                svg,
                "<g><title>{}{}</title><rect class=\"{class}\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BOX_HEIGHT}\" rx=\"{round}\"/><text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
                escape(&node.name),
                escape(&node.note),
                lefts[phase],
                widths[phase],
                lefts[phase] + widths[phase] / 2.0,
                y + 15.0,
                escape(&fit(&node.name, MOST_CHARS)),
            );
            index += 1;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// The place of each node in its column, such that arrows cross little: each goes near the mean of
/// what it is tied to, columns swept to and fro.
fn order(graph: &Graph) -> Vec<usize> {
    const SWEEPS: usize = 6;
    let count: usize = graph.phases.iter().map(Vec::len).sum();
    let mut tied: Vec<Vec<usize>> = vec![Vec::new(); count];
    for edge in graph.edges.iter().filter(|edge| edge.from < count && edge.to < count) {
        tied[edge.from].push(edge.to);
        tied[edge.to].push(edge.from);
    }
    let mut columns: Vec<Vec<usize>> = Vec::new();
    let mut first = 0;
    for nodes in &graph.phases {
        columns.push((first..first + nodes.len()).collect());
        first += nodes.len();
    }
    let mut height = vec![0.0; count];
    let set = |column: &[usize], height: &mut Vec<f64>| {
        for (place, node) in column.iter().enumerate() {
            height[*node] = place as f64 - column.len() as f64 / 2.0;
        }
    };
    columns.iter().for_each(|column| set(column, &mut height));
    for sweep in 0..SWEEPS {
        let mut turns: Vec<usize> = (0..columns.len()).collect();
        if sweep % 2 == 1 {
            turns.reverse();
        }
        for turn in turns {
            let mut keyed: Vec<(f64, usize)> = columns[turn]
                .iter()
                .map(|&node| {
                    let others = &tied[node];
                    let mean = match others.len() {
                        // What nothing is tied to stands below the others.
                        0 => f64::MAX,
                        count => {
                            others.iter().map(|&other| height[other]).sum::<f64>() / count as f64
                        }
                    };
                    (mean, node)
                })
                .collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            columns[turn] = keyed.into_iter().map(|(_, node)| node).collect();
            set(&columns[turn], &mut height);
        }
    }
    let mut places = vec![0; count];
    for column in &columns {
        for (place, node) in column.iter().enumerate() {
            places[*node] = place;
        }
    }
    places
}

/// The colours of a drawing that stands alone.
const STYLE: &str = "\
.graph{font:11px ui-sans-serif,system-ui,sans-serif;--ink:#1c2330;--soft:#667085;--line:#9aa4b2;--paper:#fff;--fill:#eef3fb;--tint:#e8f5ee}\
@media(prefers-color-scheme:dark){.graph{--ink:#e6e9ef;--soft:#98a2b3;--line:#5b6575;--paper:#12161d;--fill:#1c2736;--tint:#16302a}}\
.graph .box{fill:var(--fill);stroke:var(--line)}.graph .junction{fill:var(--tint)}\
.graph .name{fill:var(--ink);text-anchor:middle;unicode-bidi:isolate}\
.graph .phase{fill:var(--soft);text-anchor:middle}\
.graph .edge{fill:none;stroke:var(--line);stroke-width:1.1;opacity:.75}.graph .deferred{stroke-dasharray:4 3}\
.graph .edge:hover{stroke:var(--ink);stroke-width:2.5;opacity:1}";

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Node {
        Node { name: name.to_owned(), junction: false, note: String::new() }
    }

    #[test]
    fn a_hostile_name_stays_a_name() {
        let drawn = graph(
            &Graph {
                phases: vec![vec![node("\"><script>x</script>")], vec![node("b")]],
                edges: vec![Edge { from: 1, to: 0, columns: "<c>".to_owned(), deferred: true }],
            },
            true,
        );
        assert!(!drawn.contains("<script") && drawn.contains("&lt;script"), "{drawn}");
        assert!(drawn.contains("edge deferred") && drawn.contains("<title>&lt;c&gt;</title>"));
    }

    #[test]
    fn ties_do_not_cross_where_they_need_not() {
        let edge = |from, to| Edge { from, to, columns: String::new(), deferred: false };
        let places = order(&Graph {
            phases: vec![vec![node("a"), node("b")], vec![node("c"), node("d")]],
            edges: vec![edge(2, 1), edge(3, 0)],
        });
        assert_eq!(places[0] < places[1], places[3] < places[2], "{places:?}");
        assert_eq!(
            graph(&Graph { phases: Vec::new(), edges: Vec::new() }, false).matches("<svg").count(),
            1
        );
    }
}
