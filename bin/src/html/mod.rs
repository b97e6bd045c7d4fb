//! The report of a run as one HTML page that needs nothing else: no network, no script, no font.
//!
//! Every name and every value goes through [`text`]; drawings are SVG within the page, in colours
//! that follow the reader's choice of light or dark.

mod flow;
pub(crate) mod graph;
mod plot;
mod text;
mod time;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use migrate_core::rejects::Group;
use migrate_core::status::{Activity, History, Stage, Status};
use migrate_core::summary::Summary;
use migrate_core::validate::{CellDifference, Report};

use self::flow::{Branch, share};
use self::graph::Graph;
use self::text::{escape, name};
use self::time::{Clock, Span, per_second, strip};
use crate::reporter::rate::{bytes, duration, thousands};

const STYLE: &str = include_str!("style.css");
/// How many fields without a column and differences of one table are listed.
const MOST_LISTED: usize = 20;
/// How many kinds of rejects are listed.
const MOST_KINDS: usize = 12;

/// What the page is made of.
pub(crate) struct Page<'a> {
    pub(crate) status: &'a Status,
    pub(crate) history: &'a History,
    /// The ledger in groups, the largest first.
    pub(crate) groups: &'a [Group],
    pub(crate) graph: &'a Graph,
    /// The report of a validation of this run.
    pub(crate) validation: Option<&'a Report>,
    /// When the page is made, in words.
    pub(crate) made_at: &'a str,
}

impl Page<'_> {
    /// The whole page.
    pub(crate) fn html(&self) -> String {
        let status = self.status;
        let spans = (self.history.chunks.iter().map(|chunk| (chunk.begun, chunk.done)))
            .chain(self.history.tasks.iter().map(|task| (task.begun, task.done)));
        let clock = Clock::new(spans);
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <title>Migration run {} of {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
            status.run,
            escape(&status.registry),
        );
        html.push_str(&self.head());
        html.push_str(&self.balance());
        html.push_str(&self.rejects());
        html.push_str(&self.throughput());
        html.push_str(&self.stages(&clock));
        html.push_str(&self.tables());
        html.push_str(&self.strangers());
        html.push_str(&self.dependencies());
        html.push_str(&self.validated());
        let _ = write!(
            html,
            "<footer>Made on {} by <code>migrate report</code> from the state in the schema {} of the target.</footer>\n</main>\n</body>\n</html>\n",
            escape(self.made_at),
            name(&status.state_schema),
        );
        html
    }

    fn head(&self) -> String {
        let status = self.status;
        let totals = &status.totals;
        let (class, verdict) = self.verdict();
        let took = seconds(status.seconds);
        let ended = match &status.finished_at {
            Some(at) => format!(", complete on {}", moment(at)),
            None => String::new(),
        };
        let mut html = format!(
            "<header>\n<h1>Migration run {} of {}</h1>\n<p>from {}</p>\n<p>into {}</p>\n\
             <p>begun on {}{ended}</p>\n<p class=\"verdict {class}\">{}</p>\n</header>\n<dl class=\"figures\">\n",
            status.run,
            name(&status.registry),
            name(&status.source),
            name(&status.target),
            moment(&status.started_at),
            escape(&verdict),
        );
        let mut figure = |title: &str, value: String, more: String| {
            let _ = writeln!(
                html,
                "<div><dt>{title}</dt><dd>{}<small>{}</small></dd></div>",
                escape(&value),
                escape(&more)
            );
        };
        figure("Documents read", thousands(totals.read), bytes(totals.bytes));
        figure("Rows loaded", thousands(totals.loaded), share(totals.loaded, totals.read));
        figure("Rejected", thousands(totals.rejected), share(totals.rejected, totals.read));
        if let Some(summary) = self.summary().filter(|summary| !summary.junctions.is_empty()) {
            let totals = &summary.totals;
            figure(
                "Junction rows",
                thousands(totals.junction_inserted),
                format!("of {} elements", thousands(totals.junction_elements)),
            );
        }
        figure("Duration", took, pauses(&self.clock_pauses()));
        figure(
            "Load",
            format!("{}/s", thousands(status.rate.documents as u64)),
            format!("documents, {}/s", bytes(status.rate.bytes as u64)),
        );
        html.push_str("</dl>\n");
        html
    }

    fn clock_pauses(&self) -> Vec<(f64, f64)> {
        let chunks = self.history.chunks.iter().map(|chunk| (chunk.begun, chunk.done));
        let tasks = self.history.tasks.iter().map(|task| (task.begun, task.done));
        Clock::new(chunks.chain(tasks)).pauses
    }

    /// Whether all is well, and the sentence that says so.
    fn verdict(&self) -> (&'static str, String) {
        let status = self.status;
        let differs = self.validation.is_some_and(|report| !report.clean);
        match status.activity {
            Activity::Unbalanced => {
                ("bad", "The sums do not hold: do not use the target".to_owned())
            }
            Activity::Stopped => {
                ("bad", format!("Stopped while at “{}”: not complete", status.stage.name()))
            }
            Activity::Running => ("bad", format!("Still at work: {}", status.stage.name())),
            Activity::Complete if differs => {
                ("bad", "Complete, and the validation has found differences".to_owned())
            }
            Activity::Complete => {
                let validated = match self.validation {
                    Some(report) if is_whole(report) => ", and every row compared with its source",
                    Some(_) => ", and a part compared with its source",
                    None => "",
                };
                match status.totals.rejected {
                    0 => ("good", format!("Complete and clean: every sum holds{validated}")),
                    count => (
                        "good",
                        format!(
                            "Complete: every sum holds{validated}; {} rejected, each with its reason",
                            counted(count, "document is", "documents are")
                        ),
                    ),
                }
            }
        }
    }

    fn balance(&self) -> String {
        let totals = &self.status.totals;
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        for reject in &self.history.rejects {
            *reasons.entry(&reject.reason).or_default() += reject.count;
        }
        let mut parts: Vec<(String, u64)> =
            reasons.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect();
        parts.sort_by_key(|(reason, count)| (std::cmp::Reverse(*count), reason.clone()));
        let branch = |label, count, class, parts| Branch { label, count, class, parts };
        let mut html = section(
            "Balance",
            "What became of every document: read = rows + rejected + skipped, counted independently of each other.",
        );
        html.push_str(&flow::flow(
            "documents read and what became of them",
            "documents read",
            totals.read,
            &[
                branch("rows", totals.loaded, "rows", Vec::new()),
                branch("skipped by a filter", totals.skipped, "skipped", Vec::new()),
                branch("rejected", totals.rejected, "rejected", parts),
            ],
        ));
        if let Some(summary) = self.summary().filter(|summary| !summary.junctions.is_empty()) {
            let totals = &summary.totals;
            html.push_str("<h3>Elements of arrays that fill junction tables</h3>\n");
            html.push_str(&flow::flow(
                "array elements and what became of them",
                "elements read",
                totals.junction_elements,
                &[
                    branch("junction rows", totals.junction_inserted, "rows", Vec::new()),
                    branch("duplicates", totals.junction_duplicates, "skipped", Vec::new()),
                    branch("orphans", totals.junction_orphans, "rejected", Vec::new()),
                ],
            ));
        }
        html.push_str("</section>\n");
        html
    }

    fn summary(&self) -> Option<&Summary> {
        self.status.summary.as_ref()
    }

    fn rejects(&self) -> String {
        let mut html = section("Rejects by reason", "");
        let mut reasons: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for reject in &self.history.rejects {
            *reasons.entry(&reject.reason).or_default().entry(&reject.table).or_default() +=
                reject.count;
        }
        if reasons.is_empty() {
            html.push_str("<p class=\"none\">No document was rejected.</p>\n</section>\n");
            return html;
        }
        let total = |tables: &BTreeMap<&str, u64>| tables.values().sum::<u64>();
        let mut reasons: Vec<_> = reasons.into_iter().collect();
        reasons.sort_by_key(|(reason, tables)| (std::cmp::Reverse(total(tables)), *reason));
        let most = reasons.first().map_or(1, |(_, tables)| total(tables)).max(1);
        html.push_str("<div class=\"wide\"><table><thead><tr><th>reason</th><th class=\"n\">documents</th><th></th><th>most in</th></tr></thead><tbody>\n");
        for (reason, tables) in &reasons {
            let count = total(tables);
            let mut tables: Vec<(&str, u64)> =
                tables.iter().map(|(table, count)| (*table, *count)).collect();
            tables.sort_by_key(|(table, count)| (std::cmp::Reverse(*count), *table));
            let shown: Vec<String> = tables
                .iter()
                .take(3)
                .map(|(table, count)| format!("{} {}", name(table), thousands(*count)))
                .collect();
            let more = match tables.len().saturating_sub(3) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let _ = writeln!(
                html,
                "<tr><td class=\"name\">{}</td><td class=\"n\">{}</td><td class=\"bar\"><span style=\"width:{:.1}%\"></span></td><td class=\"text\">{}{more}</td></tr>",
                escape(reason),
                thousands(count),
                100.0 * count as f64 / most as f64,
                shown.join(", "),
            );
        }
        html.push_str("</tbody></table></div>\n");
        if !self.groups.is_empty() {
            html.push_str("<h3>The most frequent kinds, and what accepts them</h3>\n<div class=\"wide\"><table><thead><tr><th class=\"n\">documents</th><th>field</th><th>why</th><th>to accept them</th></tr></thead><tbody>\n");
            for group in self.groups.iter().take(MOST_KINDS) {
                let field = match group.field.as_str() {
                    "" => name(&group.table),
                    field => format!("{}.{}", name(&group.table), name(field)),
                };
                let _ = writeln!(
                    html,
                    "<tr><td class=\"n\">{}</td><td class=\"field\">{field}</td><td class=\"text\">{}</td><td class=\"text soft\">{}</td></tr>",
                    thousands(group.count),
                    name(&group.message),
                    code(group.advice()),
                );
            }
            html.push_str("</tbody></table></div>\n");
            if self.groups.len() > MOST_KINDS {
                let _ = writeln!(
                    html,
                    "<p class=\"soft\">{} more kinds: <code>migrate rejects list</code></p>",
                    self.groups.len() - MOST_KINDS
                );
            }
        }
        html.push_str("</section>\n");
        html
    }

    fn throughput(&self) -> String {
        const PARTS: usize = 80;
        let mut html = section(
            "Throughput of the load",
            "Means over equal parts of the time of the load, from its first chunk to its last; what a chunk reads counts evenly over the time it took.",
        );
        let chunks = &self.history.chunks;
        let clock = &Clock::new(chunks.iter().map(|chunk| (chunk.begun, chunk.done)));
        let rates = |amount: fn(&migrate_core::status::ChunkSpan) -> u64| {
            per_second(
                clock,
                PARTS,
                chunks.iter().map(move |chunk| (chunk.begun, chunk.done, amount(chunk) as f64)),
            )
        };
        let documents = plot::plot(clock, &rates(|chunk| chunk.read), plot::ACCENT, &|rate| {
            thousands(rate as u64)
        });
        let mut sizes = rates(|chunk| chunk.bytes);
        let (unit, size) = unit(&sizes);
        sizes.iter_mut().for_each(|rate| *rate /= size);
        let sizes =
            plot::plot(clock, &sizes, plot::ROWS, &|rate| format!("{} {unit}", short(rate)));
        if documents.is_empty() {
            html.push_str("<p class=\"none\">No chunk is done yet.</p>\n</section>\n");
            return html;
        }
        let _ = write!(
            html,
            "<h3>Documents per second</h3>\n{documents}<h3>BSON bytes per second</h3>\n{sizes}"
        );
        if !clock.pauses.is_empty() {
            let _ = writeln!(
                html,
                "<p class=\"soft\">Dashed lines: {}.</p>",
                escape(&pauses(&clock.pauses))
            );
        }
        html.push_str("</section>\n");
        html
    }

    fn stages(&self, clock: &Clock) -> String {
        let mut html = section(
            "Time per stage and table",
            "From left to right the time at work. Seconds of work add up what workers did side by side.",
        );
        html.push_str("<ul class=\"legend\">");
        for stage in [Stage::Load, Stage::Settle, Stage::Constrain, Stage::Analyze] {
            let _ = write!(html, "<li><span class=\"key {0}\"></span>{0}</li>", stage.name());
        }
        html.push_str("</ul>\n");
        let _ = writeln!(
            html,
            "<div class=\"wide\"><table><thead><tr><th>stage</th><th>0 s to {}</th><th class=\"n\">seconds of work</th><th class=\"n\">documents/s</th></tr></thead><tbody>",
            seconds(clock.total)
        );
        let row = |html: &mut String, title: &str, spans: &[Span], work: f64, rate: String| {
            let _ = writeln!(
                html,
                "<tr><td class=\"name\">{}</td><td class=\"strip\">{}</td><td class=\"n\">{work:.2}</td><td class=\"n\">{rate}</td></tr>",
                name(title),
                strip(clock, spans),
            );
        };
        let chunks = &self.history.chunks;
        let tasks = &self.history.tasks;
        let rate = |read: u64, work: f64| match work > 0.0 && read > 0 {
            true => thousands((read as f64 / work) as u64),
            false => String::new(),
        };
        let load: Vec<_> = chunks.iter().map(|chunk| (chunk.begun, chunk.done, "load")).collect();
        row(
            &mut html,
            "load",
            &load,
            load.iter().map(|(begun, done, _)| done - begun).sum(),
            String::new(),
        );
        for stage in [Stage::Settle, Stage::Constrain, Stage::Analyze] {
            let spans: Vec<_> = tasks
                .iter()
                .filter(|task| task.stage == stage)
                .map(|task| (task.begun, task.done, stage.name()))
                .collect();
            if !spans.is_empty() {
                let work = spans.iter().map(|(begun, done, _)| done - begun).sum();
                row(&mut html, stage.name(), &spans, work, String::new());
            }
        }

        // Spans, documents read, seconds of loading.
        let mut tables: BTreeMap<&str, (Vec<Span>, u64, f64)> = BTreeMap::new();
        for chunk in chunks {
            let entry = tables.entry(&chunk.model).or_default();
            entry.0.push((chunk.begun, chunk.done, "load"));
            entry.1 += chunk.read;
            entry.2 += chunk.done - chunk.begun;
        }
        for task in tasks {
            let Some(model) = &task.model else { continue };
            tables.entry(model).or_default().0.push((task.begun, task.done, task.stage.name()));
        }
        let work = |spans: &[Span]| spans.iter().map(|(begun, done, _)| done - begun).sum::<f64>();
        let mut tables: Vec<_> = tables.into_iter().collect();
        tables.sort_by(|a, b| work(&b.1.0).total_cmp(&work(&a.1.0)).then(a.0.cmp(b.0)));
        html.push_str("<tr class=\"part\"><th colspan=\"4\">tables, the one with the most work first</th></tr>\n");
        for (model, (spans, read, loading)) in &tables {
            let title = (self.status.tables.iter())
                .find(|table| table.model == *model)
                .map_or(*model, |table| table.table.as_str());
            row(&mut html, title, spans, work(spans), rate(*read, *loading));
        }
        html.push_str("</tbody></table></div>\n</section>\n");
        html
    }

    fn tables(&self) -> String {
        let mut html = section("Tables", "");
        let skips = self.status.totals.skipped > 0;
        let skipped = |cell: String| if skips { cell } else { String::new() };
        let _ = writeln!(
            html,
            "<div class=\"wide\"><table><thead><tr><th>table</th><th class=\"n\">read</th><th class=\"n\">rows</th><th class=\"n\">rejected</th>{}<th class=\"n\">orphans</th><th class=\"n\">chunks</th><th class=\"n\">size</th></tr></thead><tbody>",
            skipped("<th class=\"n\">skipped</th>".to_owned())
        );
        let mut all_orphans = 0;
        for table in &self.status.tables {
            let counted = self
                .summary()
                .and_then(|summary| summary.tables.iter().find(|other| other.model == table.model));
            let orphans: u64 = counted.map_or(0, |table| table.orphans.values().sum());
            all_orphans += orphans;
            let wrong = counted.is_some_and(|table| !table.balanced);
            let chunks = match table.chunks_done == table.chunks {
                true => thousands(table.chunks),
                false => format!("{} of {}", thousands(table.chunks_done), thousands(table.chunks)),
            };
            let _ = writeln!(
                html,
                "<tr><td class=\"name{}\">{}{}</td>{}{}{}{}{}<td class=\"n\">{chunks}</td><td class=\"n\">{}</td></tr>",
                if wrong { " warn" } else { "" },
                name(&table.table),
                if wrong { ": DOES NOT ADD UP" } else { "" },
                number(table.totals.read),
                number(table.totals.loaded),
                number(table.totals.rejected),
                skipped(number(table.totals.skipped)),
                number(orphans),
                bytes(table.totals.bytes),
            );
        }
        let totals = &self.status.totals;
        let _ = writeln!(
            html,
            "<tr class=\"sum\"><td>all</td>{}{}{}{}{}<td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n</tbody></table></div>",
            number(totals.read),
            number(totals.loaded),
            number(totals.rejected),
            skipped(number(totals.skipped)),
            number(all_orphans),
            thousands(self.status.chunks),
            bytes(totals.bytes),
        );
        if let Some(summary) = self.summary().filter(|summary| !summary.junctions.is_empty()) {
            html.push_str("<h3>Junction tables</h3>\n<div class=\"wide\"><table><thead><tr><th>junction</th><th class=\"n\">elements</th><th class=\"n\">rows</th><th class=\"n\">duplicates</th><th class=\"n\">orphans</th></tr></thead><tbody>\n");
            for junction in &summary.junctions {
                let _ = writeln!(
                    html,
                    "<tr><td class=\"name{}\">{}{}</td>{}{}{}{}</tr>",
                    if junction.balanced { "" } else { " warn" },
                    name(&junction.table),
                    if junction.balanced { "" } else { ": DOES NOT ADD UP" },
                    number(junction.elements),
                    number(junction.inserted),
                    number(junction.duplicates),
                    number(junction.orphans),
                );
            }
            let totals = &summary.totals;
            let _ = writeln!(
                html,
                "<tr class=\"sum\"><td>all</td>{}{}{}{}</tr>\n</tbody></table></div>",
                number(totals.junction_elements),
                number(totals.junction_inserted),
                number(totals.junction_duplicates),
                number(totals.junction_orphans),
            );
        }
        html.push_str("</section>\n");
        html
    }

    /// What the models do not know.
    fn strangers(&self) -> String {
        let Some(summary) = self.summary() else { return String::new() };
        let mut unknown: Vec<_> = summary
            .tables
            .iter()
            .flat_map(|table| table.unknown_fields.iter().map(move |field| (table, field)))
            .collect();
        if summary.collections_without_model.is_empty()
            && summary.models_without_collection.is_empty()
            && unknown.is_empty()
        {
            return String::new();
        }
        let mut html = section(
            "Left out",
            "What the source has and the models do not take, and the other way round.",
        );
        if !summary.collections_without_model.is_empty() {
            html.push_str("<h3>Collections without a model</h3>\n<div class=\"wide\"><table><thead><tr><th>collection</th><th class=\"n\">documents</th></tr></thead><tbody>\n");
            for (collection, documents) in &summary.collections_without_model {
                let _ = writeln!(
                    html,
                    "<tr><td class=\"name\">{}</td>{}</tr>",
                    name(collection),
                    number(*documents)
                );
            }
            html.push_str("</tbody></table></div>\n");
        }
        if !unknown.is_empty() {
            unknown.sort_by_key(|(_, (_, field))| std::cmp::Reverse(field.documents));
            html.push_str("<h3>Fields that no column takes</h3>\n<div class=\"wide\"><table><thead><tr><th>field</th><th class=\"n\">documents</th><th>as in</th></tr></thead><tbody>\n");
            for (table, (field, unknown)) in unknown.iter().take(MOST_LISTED) {
                let _ = writeln!(
                    html,
                    "<tr><td class=\"name\">{}.{}</td>{}<td><code>{}</code></td></tr>",
                    name(&table.collection),
                    name(field),
                    number(unknown.documents),
                    name(&unknown.example),
                );
            }
            html.push_str("</tbody></table></div>\n");
            if unknown.len() > MOST_LISTED {
                let _ = writeln!(
                    html,
                    "<p class=\"soft\">and {} more</p>",
                    thousands((unknown.len() - MOST_LISTED) as u64)
                );
            }
        }
        if !summary.models_without_collection.is_empty() {
            let names: Vec<String> =
                summary.models_without_collection.iter().map(|model| name(model)).collect();
            let _ = writeln!(
                html,
                "<h3>Models whose collection the source does not have</h3>\n<p>{}</p>",
                names.join(", ")
            );
        }
        html.push_str("</section>\n");
        html
    }

    fn dependencies(&self) -> String {
        format!(
            "{}<div class=\"wide\">{}</div>\n</section>\n",
            section(
                "References by phase",
                "A table refers to those that a line leads to on its left; dashed lines are deferred references, round boxes are junction tables. Point at a line to see its columns.",
            ),
            graph::graph(self.graph, false)
        )
    }

    fn validated(&self) -> String {
        let mut html = section("Validation", "");
        let Some(report) = self.validation else {
            html.push_str("<p class=\"none\">No report of a validation of this run was at hand: <code>migrate validate</code> makes one, <code>migrate report --validation FILE</code> takes it.</p>\n</section>\n");
            return html;
        };
        let rows: u64 = report.tables.iter().map(|table| table.target).sum();
        let pairs: u64 = report.junctions.iter().map(|junction| junction.target).sum();
        let part = match is_whole(report) {
            true => "",
            false => " This was a part of the tables or a sample of the rows.",
        };
        let differences = report.differences();
        let _ = writeln!(
            html,
            "<p class=\"verdict {}\">{}</p>\n<p>{} rows and {} junction rows were compared with the source in {}.{part}</p>",
            if report.clean { "good" } else { "bad" },
            match differences {
                0 if report.clean => "Nothing differs".to_owned(),
                count => counted(count, "difference", "differences"),
            },
            thousands(rows),
            thousands(pairs),
            seconds(report.seconds),
        );
        // Rows may differ because of the definitions.
        if !report.structure.is_empty() {
            html.push_str("<h3>Definitions that are not as the models say</h3>\n<div class=\"wide\"><table><thead><tr><th>object</th><th>expected</th><th>found</th></tr></thead><tbody>\n");
            for difference in report.structure.iter().take(MOST_LISTED) {
                let side =
                    |side: &Option<String>| side.as_deref().map_or("nothing".to_owned(), name);
                let _ = writeln!(
                    html,
                    "<tr><td class=\"name\">{}</td><td class=\"text\">{}</td><td class=\"text\">{}</td></tr>",
                    name(&difference.object),
                    side(&difference.expected),
                    side(&difference.found),
                );
            }
            html.push_str("</tbody></table></div>\n");
        }
        let mut worst: Vec<_> = report
            .tables
            .iter()
            .map(|table| (table, table.differences()))
            .filter(|(_, count)| *count > 0)
            .collect();
        worst.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        if !worst.is_empty() {
            html.push_str("<h3>Tables that differ</h3>\n<div class=\"wide\"><table><thead><tr><th>table</th><th class=\"n\">missing rows</th><th class=\"n\">extra rows</th><th class=\"n\">differing cells</th><th>counts</th></tr></thead><tbody>\n");
            for (table, _) in &worst {
                let _ = writeln!(
                    html,
                    "<tr><td class=\"name\">{}</td>{}{}{}<td>{}</td></tr>",
                    name(&table.table),
                    number(table.missing.count),
                    number(table.extra.count),
                    number(table.cells.count),
                    if table.counts_hold { "hold" } else { "do not hold" },
                );
            }
            html.push_str("</tbody></table></div>\n");
            for (table, _) in &worst {
                let explained = table.columns.iter().filter_map(|column| {
                    Some((column, column.count, name(column.cause.as_ref()?)))
                });
                let unnoted =
                    table.columns.iter().filter(|column| column.unnoted > 0).map(|column| {
                        let why = "NULL for pointing to nothing, without an entry in the ledger";
                        (column, column.unnoted, why.to_owned())
                    });
                for (column, count, why) in explained.chain(unnoted) {
                    let _ = writeln!(
                        html,
                        "<p>{} of {}.{}: {why}</p>",
                        counted(count, "cell", "cells"),
                        name(&table.table),
                        name(&column.column),
                    );
                }
                let is_explained = |cell: &&CellDifference| {
                    let mut columns = table.columns.iter();
                    columns.any(|column| column.column == cell.column && column.cause.is_some())
                };
                let cells: Vec<_> =
                    table.cells.first.iter().filter(|cell| !is_explained(cell)).collect();
                if cells.is_empty() {
                    continue;
                }
                let _ = writeln!(
                    html,
                    "<details><summary>Cells of {}</summary><div class=\"wide\"><table><thead><tr><th>key</th><th>column</th><th>source</th><th>target</th></tr></thead><tbody>",
                    name(&table.table)
                );
                for cell in cells.into_iter().take(MOST_LISTED) {
                    let value = |value: &Option<String>| match value {
                        Some(value) => format!("<code>{}</code>", name(&text::fit(value, 120))),
                        None => "NULL".to_owned(),
                    };
                    let _ = writeln!(
                        html,
                        "<tr><td><code>{}</code></td><td>{}</td><td class=\"text\">{}</td><td class=\"text\">{}</td></tr>",
                        name(&cell.key),
                        name(&cell.column),
                        value(&cell.source),
                        value(&cell.target),
                    );
                }
                html.push_str("</tbody></table></div></details>\n");
            }
        }
        let pairs: Vec<_> = report
            .junctions
            .iter()
            .filter(|junction| {
                junction.missing.count + junction.extra.count > 0 || !junction.counts_hold
            })
            .collect();
        if !pairs.is_empty() {
            html.push_str("<h3>Junctions</h3>\n<div class=\"wide\"><table><thead><tr><th>junction</th><th class=\"n\">missing rows</th><th class=\"n\">extra rows</th><th>counts</th></tr></thead><tbody>\n");
            for junction in pairs {
                let _ = writeln!(
                    html,
                    "<tr><td class=\"name\">{}</td>{}{}<td>{}</td></tr>",
                    name(&junction.table),
                    number(junction.missing.count),
                    number(junction.extra.count),
                    if junction.counts_hold { "hold" } else { "do not hold" },
                );
            }
            html.push_str("</tbody></table></div>\n");
        }
        let orphans: Vec<_> =
            report.references.iter().filter(|reference| reference.orphans.count > 0).collect();
        if !orphans.is_empty() {
            html.push_str("<h3>References to rows that are not there</h3>\n<div class=\"wide\"><table><thead><tr><th>reference</th><th>to</th><th class=\"n\">cells</th></tr></thead><tbody>\n");
            for reference in orphans {
                let _ = writeln!(
                    html,
                    "<tr><td class=\"name\">{}.{}</td><td>{}</td>{}</tr>",
                    name(&reference.table),
                    name(&reference.column),
                    name(&reference.target),
                    number(reference.orphans.count),
                );
            }
            html.push_str("</tbody></table></div>\n");
        }
        html.push_str("</section>\n");
        html
    }
}

fn section(title: &str, lead: &str) -> String {
    let lead = match lead {
        "" => String::new(),
        lead => format!("<p class=\"lead\">{lead}</p>\n"),
    };
    format!("<section>\n<h2>{title}</h2>\n{lead}")
}

/// Whether a validation has looked at everything.
fn is_whole(report: &Report) -> bool {
    let scope = &report.scope;
    scope.models.is_empty() && scope.since_run.is_none() && scope.sample.is_none()
}

/// A number as a cell; a zero stands back.
fn number(number: u64) -> String {
    let class = if number == 0 { "n zero" } else { "n" };
    format!("<td class=\"{class}\">{}</td>", thousands(number))
}

/// A sentence with code between backticks.
fn code(text: &str) -> String {
    text.split('`')
        .enumerate()
        .map(|(at, part)| match at % 2 {
            0 => escape(part),
            _ => format!("<code>{}</code>", escape(part)),
        })
        .collect()
}

/// The unit in which the largest of these numbers of bytes reads well, and its size.
fn unit(rates: &[f64]) -> (&'static str, f64) {
    let most = rates.iter().copied().fold(0.0, f64::max);
    [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
        .into_iter()
        .map(|(unit, size)| (unit, size as f64))
        .find(|(_, size)| most >= *size)
        .unwrap_or(("B", 1.0))
}

/// A number of an axis with no more digits than it needs.
fn short(number: f64) -> String {
    let rounded = (number * 100.0).round() / 100.0;
    if rounded.fract() == 0.0 { thousands(rounded as u64) } else { rounded.to_string() }
}

fn seconds(seconds: f64) -> String {
    duration(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)))
}

/// A moment on an axis that is so many seconds long.
fn seconds_label(at: f64, total: f64) -> String {
    match total {
        ..0.5 => format!("{:.0} ms", at * 1000.0),
        ..3.0 => format!("{at:.2} s"),
        ..20.0 => format!("{at:.1} s"),
        ..180.0 => format!("{at:.0} s"),
        _ => seconds(at),
    }
}

/// `2026-01-31T12:00:00.123Z` as `2026-01-31, 12:00:00 UTC`.
fn moment(iso: &str) -> String {
    let day = iso.split('T').next().unwrap_or_default();
    let time = iso.split('T').nth(1).and_then(|time| time.split('.').next()).unwrap_or_default();
    escape(&format!("{day}, {time} UTC"))
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(count), if count == 1 { one } else { many })
}

fn pauses(pauses: &[(f64, f64)]) -> String {
    match pauses {
        [] => "without a pause".to_owned(),
        [(_, length)] => format!("nobody was at work for {}", seconds(*length)),
        many => format!(
            "nobody was at work {} times, {} in all",
            many.len(),
            seconds(many.iter().map(|(_, length)| length).sum())
        ),
    }
}
