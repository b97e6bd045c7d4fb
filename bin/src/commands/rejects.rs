//! `migrate rejects`: what was rejected, in groups and one by one, and trying it again.

use std::fmt::Write as _;
use std::sync::Arc;

use migrate_core::cell::extended_json;
use migrate_core::event::Silent;
use migrate_core::feed::shown_document;
use migrate_core::ledger::Entry;
use migrate_core::rejects::{self, Filter, Group, Retried};
use migrate_core::run::Stop;
use migrate_core::schema::RegistryFacts;
use migrate_core::source::Limits;
use migrate_core::{Error, ErrorKind, source};

use super::out::Out;
use super::{signals, validate};
use crate::cli::{
    FilterArgs, ProgressKind, Rejects, RejectsExport, RejectsList, RejectsRetry, RejectsShow,
};
use crate::exit::Outcome;
use crate::printer::{Printer, one_line};
use crate::reporter::rate::thousands;
use crate::reporter::{self, shown_id};
use crate::settings::File;

/// Runs one of the commands; the addresses it works with are added to `addresses`.
pub(crate) async fn rejects(
    registry: &'static RegistryFacts,
    command: Rejects,
    file: &File,
    printer: Printer,
    addresses: &mut Vec<String>,
) -> Result<Outcome, Error> {
    match command {
        Rejects::List(arguments) => list(arguments, file, printer, addresses).await,
        Rejects::Show(arguments) => show(arguments, file, printer, addresses).await,
        Rejects::Export(arguments) => export(arguments, file, printer, addresses).await,
        Rejects::Retry(arguments) => retry(registry, arguments, file, printer, addresses).await,
    }
}

impl From<FilterArgs> for Filter {
    fn from(arguments: FilterArgs) -> Self {
        let FilterArgs { table, reason, field } = arguments;
        Self { table, reason, field, ..Self::default() }
    }
}

async fn list(
    arguments: RejectsList,
    file: &File,
    printer: Printer,
    addresses: &mut Vec<String>,
) -> Result<Outcome, Error> {
    let (target, options) = file.state(arguments.state)?;
    addresses.push(target.clone());
    let groups = rejects::groups(&target, &options, &arguments.filter.into()).await?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&groups)
            .map_err(|error| Error::new(ErrorKind::File, "cannot write JSON").caused_by(error))?;
        printer.data(text);
    } else if groups.is_empty() {
        printer.note("nothing was rejected");
    } else {
        printer.data(groups_text(&groups));
    }
    Ok(Outcome::Clean)
}

/// Each group in a line, and its examples in another.
fn groups_text(groups: &[Group]) -> String {
    let counts: Vec<String> = groups.iter().map(|group| thousands(group.count)).collect();
    let width = counts.iter().map(String::len).max().unwrap_or_default();
    let mut text = String::new();
    for (group, count) in groups.iter().zip(counts) {
        let more = if group.count > group.examples.len() as u64 { ", .." } else { "" };
        let _ = writeln!(text, "{count:>width$} × {}", describe(group));
        let _ = writeln!(
            text,
            "{:width$}   {}, as in {}{more}",
            "",
            group.reason,
            group.examples.iter().map(|id| shown_id(id)).collect::<Vec<_>>().join(", ")
        );
    }
    let total = groups.iter().map(|group| group.count).sum();
    let _ = write!(text, "{} rejected", thousands(total));
    text
}

/// A group in words, as in `crm_Contacts.status: expected bool, found string`.
pub(super) fn describe(group: &Group) -> String {
    let dot = if group.field.is_empty() { "" } else { "." };
    format!(
        "{}{dot}{}: {}",
        one_line(&group.table),
        one_line(&group.field),
        one_line(&group.message)
    )
}

async fn show(
    arguments: RejectsShow,
    file: &File,
    printer: Printer,
    addresses: &mut Vec<String>,
) -> Result<Outcome, Error> {
    let (target, options) = file.state(arguments.state)?;
    addresses.push(target.clone());
    let filter = Filter {
        table: arguments.table,
        source_id: Some(arguments.source_id.clone()),
        ..Filter::default()
    };
    let mut entries = Vec::new();
    rejects::for_each(&target, &options, &filter, |entry| {
        entries.push(entry_text(&entry));
        true
    })
    .await?;
    if entries.is_empty() {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("no rejected document has the `_id` `{}`", arguments.source_id),
        )
        .with_hint(
            "`migrate rejects list` shows ids; one that is a text stands in double quotes",
        ));
    }
    printer.data(entries.join("\n\n"));
    Ok(Outcome::Clean)
}

fn entry_text(entry: &Entry) -> String {
    let Entry { run, schema, time, reject } = entry;
    let document = match json(&reject.document) {
        Some(document) => pretty(&document),
        None if reject.document.is_empty() => {
            "not kept: the source had lost it when it was rejected".to_owned()
        }
        None => format!("no BSON that can be shown, in hex: {}", hex(&reject.document)),
    };
    format!(
        "table       {}.{}\ncollection  {}\n_id         {}\nstage       {}\nreason      {}\nfield       {}\nmessage     {}\nrejected    {time}, in run {run}\n\n{document}",
        one_line(schema),
        one_line(&reject.table),
        one_line(&reject.collection),
        shown_id(&reject.source_id),
        reject.stage.code(),
        reject.reason,
        one_line(&reject.field),
        one_line(&reject.message),
    )
}

/// A document in canonical Extended JSON, unless its bytes are no BSON, or it is nested deeper than
/// anybody could read.
fn json(document: &[u8]) -> Option<String> {
    let text = extended_json(&shown_document(document));
    (!document.is_empty() && !text.starts_with("{\"$malformed\"")).then_some(text)
}

/// JSON with a line for each value, without recursion. Beyond some levels the lines are indented no
/// further, for they would grow with the square of the depth.
fn pretty(json: &str) -> String {
    const INDENTED: usize = 40;
    let mut text = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut characters = json.chars().peekable();
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.push_str(&"  ".repeat(depth.min(INDENTED)));
    };
    while let Some(character) = characters.next() {
        if in_string {
            (in_string, escaped) = (escaped || character != '"', !escaped && character == '\\');
            text.push(character);
            continue;
        }
        match character {
            '{' | '[' => {
                text.push(character);
                if let Some(end) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    text.push(end);
                } else {
                    depth += 1;
                    line(&mut text, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut text, depth);
                text.push(character);
            }
            ',' => {
                text.push(character);
                line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            _ => {
                in_string = character == '"';
                text.push(character);
            }
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn export(
    arguments: RejectsExport,
    file: &File,
    printer: Printer,
    addresses: &mut Vec<String>,
) -> Result<Outcome, Error> {
    let (target, options) = file.state(arguments.state)?;
    addresses.push(target.clone());
    let mut out = Out::open(arguments.out.as_deref())?;
    let mut count = 0;
    rejects::for_each(&target, &options, &arguments.filter.into(), |entry| {
        count += 1;
        out.line(&line(&entry))
    })
    .await?;
    out.finish()?;
    if let Some(path) = &arguments.out {
        printer.note(format_args!("{} rejects are in `{}`", thousands(count), path.display()));
    }
    Ok(Outcome::Clean)
}

fn line(entry: &Entry) -> String {
    let Entry { run, schema, time, reject } = entry;
    let document = json(&reject.document);
    let mut line = serde_json::json!({
        "run": run,
        "time": time,
        "schema": schema,
        "table": reject.table,
        "collection": reject.collection,
        "source_id": reject.source_id,
        "stage": reject.stage.code(),
        "reason": reject.reason.code(),
        "field": reject.field,
        "message": reject.message,
    });
    if document.is_none() {
        line["bytes"] = hex(&reject.document).into();
    }
    // The document is text already, and may be too deep for a value.
    let mut text = line.to_string();
    text.pop();
    text + ",\"document\":" + document.as_deref().unwrap_or("null") + "}"
}

async fn retry(
    registry: &'static RegistryFacts,
    arguments: RejectsRetry,
    file: &File,
    printer: Printer,
    addresses: &mut Vec<String>,
) -> Result<Outcome, Error> {
    let (target, options) = file.state(arguments.state)?;
    addresses.push(target.clone());
    let stop = Stop::default();
    let _signals = signals::listen(&stop, printer)?;
    let reporter = reporter::new(ProgressKind::Auto, printer);
    let source = match arguments.stored {
        true => None,
        false => {
            let address = file.source(arguments.source.source).map_err(|error| {
                let hint = error.hint().map(|hint| format!("{hint}; or take `--stored`"));
                error.with_hint(hint.unwrap_or_default())
            })?;
            addresses.push(address.clone());
            let (budget, limits) = (options.budget(), Limits::default());
            let from = validate::source_options(&options, budget, limits, &reporter, &stop);
            Some(source::open_with(&address, from).await?)
        }
    };
    let retried = rejects::retry(
        registry,
        source,
        &target,
        &options,
        &arguments.filter.into(),
        Arc::new(Silent),
        &stop,
    )
    .await?;
    if !printer.is_quiet() {
        printer.data(retried_text(&retried));
    }
    let remain = retried.rejected + retried.gone > 0;
    Ok(if remain { Outcome::Differs } else { Outcome::Clean })
}

fn retried_text(retried: &Retried) -> String {
    let mut text = String::new();
    for (what, count) in [
        ("tried again", retried.tried),
        ("loaded", retried.loaded),
        ("rejected again", retried.rejected),
        ("gone from the source", retried.gone),
        ("no longer their model's", retried.moved),
        ("junction rows inserted", retried.junction_rows),
        ("references set again", retried.references),
    ] {
        let _ = writeln!(text, "{:>9}  {what}", thousands(count));
    }
    for (table, loaded) in &retried.by_table {
        let _ = writeln!(text, "{:>9}  loaded into {table}", thousands(*loaded));
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use bson::doc;
    use migrate_core::reject::Stage;
    use migrate_core::{Reason, Reject};

    use super::*;

    #[test]
    fn groups_read_well() {
        let group = |count, field: &str, examples: &[&str]| Group {
            table: "crm_Contacts".to_owned(),
            field: field.to_owned(),
            reason: "type".to_owned(),
            message: "expected bool, found string".to_owned(),
            count,
            examples: examples.iter().map(|id| (*id).to_owned()).collect(),
        };
        assert_eq!(
            groups_text(&[group(1412, "status", &["a", "b"]), group(1, "", &["c"])]),
            "1,412 × crm_Contacts.status: expected bool, found string\n        type, as in a, b, ..\n    1 × crm_Contacts: expected bool, found string\n        type, as in c\n1,413 rejected"
        );
    }

    #[test]
    fn a_document_is_written_whole_or_as_its_bytes() {
        let reject = Reject {
            collection: "c".to_owned(),
            table: "t".to_owned(),
            source_id: "5".to_owned(),
            stage: Stage::Transform,
            reason: Reason::Label,
            field: "state".to_owned(),
            message: "m".to_owned(),
            document: doc! { "_id": 5, "b": 1, "a": 2_i64 }.to_vec().unwrap(),
        };
        let (schema, time) = ("public".to_owned(), "2026-01-02T03:04:05.678Z".to_owned());
        let mut entry = Entry { run: 3, schema, time, reject };
        let text = line(&entry);
        assert!(
            text.ends_with(
                r#""document":{"_id":{"$numberInt":"5"},"b":{"$numberInt":"1"},"a":{"$numberLong":"2"}}}"#
            ),
            "{text}"
        );
        let text = entry_text(&entry);
        assert!(text.starts_with("table       public.t\ncollection  c\n_id         5\n"), "{text}");
        assert!(text.ends_with("  \"a\": {\n    \"$numberLong\": \"2\"\n  }\n}"), "{text}");
        entry.reject.document = vec![1, 255];
        let value: serde_json::Value = serde_json::from_str(&line(&entry)).unwrap();
        assert_eq!(value["bytes"], "01ff");
        assert!(value["document"].is_null());
        assert!(entry_text(&entry).ends_with("\n\nno BSON that can be shown, in hex: 01ff"));
    }

    #[test]
    fn an_element_is_shown_as_it_stands_in_its_document() {
        let locator = doc! { "\u{1}of": 5, "\u{1}at": ["lines", 0] };
        let element = doc! {
            "_id": locator.clone(), "\u{1}parent": 5, "\u{1}position": 0, "\u{1}key": "a",
            "\u{1}_id": 7, "name": "n",
        };
        let reject = Reject {
            collection: "c.lines".to_owned(),
            table: "t".to_owned(),
            source_id: "5/lines/0".to_owned(),
            stage: Stage::Transform,
            reason: Reason::Label,
            field: "state".to_owned(),
            message: "m".to_owned(),
            document: element.to_vec().unwrap(),
        };
        let (schema, time) = ("public".to_owned(), "2026-01-02T03:04:05.678Z".to_owned());
        let mut entry = Entry { run: 3, schema, time, reject };
        let shown = r#"{"_id":{"$numberInt":"7"},"name":"n"}"#;
        assert!(line(&entry).ends_with(&format!("\"document\":{shown}}}")), "{}", line(&entry));
        assert!(entry_text(&entry).contains("\n_id         5/lines/0\n"));
        assert!(!entry_text(&entry).contains("u0001"), "{}", entry_text(&entry));
        let log = crate::reporter::entry(&entry.reject, "now");
        assert!(log.contains(&format!("Original Document: {shown}\n")), "{log}");
        // One that is no document.
        let scalar = doc! { "_id": locator, "\u{1}parent": 5, "\u{1}value": "x" };
        entry.reject.document = scalar.to_vec().unwrap();
        assert!(line(&entry).ends_with(r#""document":{"value":"x"}}"#), "{}", line(&entry));
        // A document of several collections has its own `_id`, and one of one is as it is.
        let gathered = doc! {
            "_id": { "\u{1}of": 5, "\u{1}in": "old" }, "\u{1}_id": 5, "\u{1}origin": "old", "a": "b",
        };
        for document in [gathered, doc! { "_id": 5, "a": "b" }] {
            entry.reject.document = document.to_vec().unwrap();
            let expected = r#""document":{"_id":{"$numberInt":"5"},"a":"b"}}"#;
            assert!(line(&entry).ends_with(expected), "{}", line(&entry));
        }
    }

    #[test]
    fn json_is_made_pretty_whatever_is_in_it() {
        let value = serde_json::json!({
            "a": [], "b": {}, "c": [1, {"d": "x\"{[,:]}\\"}], "e\"": null, "f": [[[true]]],
        });
        let text = serde_json::to_string(&value).unwrap();
        assert_eq!(pretty(&text), serde_json::to_string_pretty(&value).unwrap());
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(pretty(&deep).len() < 20_000_000);
    }
}
