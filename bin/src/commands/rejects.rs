//! `migrate rejects`: what was rejected, in groups and one by one, and trying it again.

use std::fmt::Write as _;
use std::sync::Arc;

use bson::{Bson, Document};
use migrate_core::event::Silent;
use migrate_core::rejects::{self, Filter, Group, Retried};
use migrate_core::run::Stop;
use migrate_core::schema::RegistryFacts;
use migrate_core::{Error, ErrorKind, Reject, source};

use super::out::Out;
use super::signals;
use crate::cli::{FilterArgs, Rejects, RejectsExport, RejectsList, RejectsRetry, RejectsShow};
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::reporter::rate::thousands;
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
        Self { table, reason, field, source_id: None }
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
            group.examples.join(", ")
        );
    }
    let total = groups.iter().map(|group| group.count).sum();
    let _ = write!(text, "{} rejected", thousands(total));
    text
}

/// A group in words, as in `crm_Contacts.status: expected bool, found string`.
pub(super) fn describe(group: &Group) -> String {
    let dot = if group.field.is_empty() { "" } else { "." };
    format!("{}{dot}{}: {}", group.table, group.field, group.message)
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
    rejects::for_each(&target, &options, &filter, |reject| {
        entries.push(entry_text(&reject));
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

fn entry_text(reject: &Reject) -> String {
    let document = match json(&reject.document) {
        Some(document) => {
            serde_json::to_string_pretty(&document).unwrap_or_else(|_| document.to_string())
        }
        None if reject.document.is_empty() => {
            "not kept: the source had lost it when it was rejected".to_owned()
        }
        None => format!("no BSON, in hex: {}", hex(&reject.document)),
    };
    format!(
        "table       {}\ncollection  {}\n_id         {}\nstage       {}\nreason      {}\nfield       {}\nmessage     {}\n\n{document}",
        reject.table,
        reject.collection,
        reject.source_id,
        reject.stage.code(),
        reject.reason,
        reject.field,
        reject.message,
    )
}

/// A document in canonical Extended JSON, unless its bytes are no BSON.
fn json(document: &[u8]) -> Option<serde_json::Value> {
    let document = Document::from_reader(document).ok()?;
    Some(Bson::Document(document).into_canonical_extjson())
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
    rejects::for_each(&target, &options, &arguments.filter.into(), |reject| {
        count += 1;
        out.line(&line(&reject).to_string())
    })
    .await?;
    out.finish()?;
    if let Some(path) = &arguments.out {
        printer.note(format_args!("{} rejects are in `{}`", thousands(count), path.display()));
    }
    Ok(Outcome::Clean)
}

fn line(reject: &Reject) -> serde_json::Value {
    let document = json(&reject.document);
    let mut line = serde_json::json!({
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
    line["document"] = document.unwrap_or_default();
    line
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
    let source = match arguments.stored {
        true => None,
        false => {
            let address = file.source(arguments.source.source).map_err(|error| {
                let hint = error.hint().map(|hint| format!("{hint}; or take `--stored`"));
                error.with_hint(hint.unwrap_or_default())
            })?;
            addresses.push(address.clone());
            Some(source::open(&address).await?)
        }
    };
    let stop = Stop::default();
    let _signals = signals::listen(&stop, printer).map_err(|error| {
        Error::new(ErrorKind::File, "cannot listen for signals").caused_by(error)
    })?;
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
    use migrate_core::Reason;
    use migrate_core::reject::Stage;

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
        let mut reject = Reject {
            collection: "c".to_owned(),
            table: "t".to_owned(),
            source_id: "5".to_owned(),
            stage: Stage::Transform,
            reason: Reason::Label,
            field: "state".to_owned(),
            message: "m".to_owned(),
            document: doc! { "_id": 5, "b": 1, "a": 2_i64 }.to_vec().unwrap(),
        };
        let text = line(&reject).to_string();
        assert!(
            text.ends_with(
                r#""document":{"_id":{"$numberInt":"5"},"b":{"$numberInt":"1"},"a":{"$numberLong":"2"}}}"#
            ),
            "{text}"
        );
        reject.document = vec![1, 255];
        assert_eq!(line(&reject)["bytes"], "01ff");
        assert!(line(&reject)["document"].is_null());
        assert!(entry_text(&reject).ends_with("\n\nno BSON, in hex: 01ff"));
    }
}
