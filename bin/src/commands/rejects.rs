//! `migrate rejects`: the ledger in groups, one reject in full, all of them as JSON, and another
//! try after the cause was mended.

use std::fmt::Write as _;

use migrate_core::event::Silent;
use migrate_core::rejects::{self, Filter, Group};
use migrate_core::run::{Options, Stop};
use migrate_core::schema::RegistryFacts;
use migrate_core::{Error, ErrorKind, Reject, ledger, source};

use super::signals;
use crate::cli::RejectFilter;
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::reporter::rate::thousands;

/// The filter that the flags name.
pub(crate) fn filter(flags: RejectFilter) -> Filter {
    Filter { table: flags.table, reason: flags.reason, field: flags.field, source_id: None }
}

/// Prints the groups.
pub(crate) async fn list(
    target: &str,
    options: &Options,
    filter: &Filter,
    json: bool,
    printer: Printer,
) -> Result<Outcome, Error> {
    let groups = rejects::groups(target, options, filter).await?;
    match json {
        true => printer.data(to_json(&groups)?),
        false if groups.is_empty() => printer.note("nothing was rejected"),
        false => printer.data(text(&groups)),
    }
    Ok(Outcome::Clean)
}

fn to_json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|error| Error::new(ErrorKind::File, "cannot write JSON").caused_by(error))
}

/// One line for each group, with a few ids below it.
fn text(groups: &[Group]) -> String {
    let count = |group: &Group| thousands(group.count);
    let width = groups.iter().map(|group| count(group).len()).max().unwrap_or_default();
    let mut text = String::new();
    for group in groups {
        let place = match group.field.as_str() {
            "" => group.table.clone(),
            field => format!("{}.{field}", group.table),
        };
        let _ = writeln!(
            text,
            "{:>width$} × {place}: {} ({})\n{:width$}   {}",
            count(group),
            group.message,
            group.reason,
            "",
            group.examples.join(", ")
        );
    }
    let total = groups.iter().map(|group| group.count).sum();
    let _ = write!(text, "{} rejected", thousands(total));
    text
}

/// Prints one document's rejects.
pub(crate) async fn show(
    target: &str,
    options: &Options,
    filter: &Filter,
    printer: Printer,
) -> Result<Outcome, Error> {
    let mut found = false;
    rejects::for_each(target, options, filter, |reject| {
        found = true;
        printer.data(full(&reject));
        true
    })
    .await?;
    if found {
        return Ok(Outcome::Clean);
    }
    let id = filter.source_id.as_deref().unwrap_or_default();
    Err(Error::new(ErrorKind::Usage, format!("no rejected document has the `_id` `{id}`"))
        .with_hint("`migrate rejects list` shows a few of each kind, `migrate rejects export` all"))
}

fn full(reject: &Reject) -> String {
    let field = if reject.field.is_empty() { "-" } else { &reject.field };
    let document = ledger::canonical_json(&reject.document);
    format!(
        "collection  {}\ntable       {}\n_id         {}\nstage       {}\nreason      {}\nfield       {field}\nmessage     {}\ndocument    {}",
        reject.collection,
        reject.table,
        reject.source_id,
        reject.stage.code(),
        reject.reason,
        reject.message,
        document.as_deref().unwrap_or("no BSON"),
    )
}

/// Prints every reject as a line of JSON.
pub(crate) async fn export(
    target: &str,
    options: &Options,
    filter: &Filter,
    printer: Printer,
) -> Result<Outcome, Error> {
    rejects::for_each(target, options, filter, |reject| {
        let document = ledger::canonical_json(&reject.document)
            .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
        printer.data(serde_json::json!({
            "table": reject.table,
            "collection": reject.collection,
            "source_id": reject.source_id,
            "stage": reject.stage,
            "reason": reject.reason,
            "field": reject.field,
            "message": reject.message,
            "document": document,
        }));
        true
    })
    .await?;
    Ok(Outcome::Clean)
}

/// Tries again, and says what became of the documents.
pub(crate) async fn retry(
    registry: &'static RegistryFacts,
    address: Option<&str>,
    target: &str,
    options: &Options,
    filter: &Filter,
    printer: Printer,
) -> Result<Outcome, Error> {
    let stop = Stop::default();
    let _signals = signals::listen(&stop, printer).map_err(|error| {
        Error::new(ErrorKind::File, "cannot listen for signals").caused_by(error)
    })?;
    let source = match address {
        Some(address) => Some(source::open(address).await?),
        None => None,
    };
    let reporter = std::sync::Arc::new(Silent);
    let retried =
        rejects::retry(registry, source, target, options, filter, reporter, &stop).await?;
    printer.data(format_args!(
        "{} tried again: {} loaded, {} rejected again, {} not in the source any more\n{} junction rows and {} references that were missing them are there now",
        thousands(retried.tried),
        thousands(retried.loaded),
        thousands(retried.rejected),
        thousands(retried.gone),
        thousands(retried.junction_rows),
        thousands(retried.references),
    ));
    for (table, count) in &retried.by_table {
        printer.data(format_args!("  {table}  {}", thousands(*count)));
    }
    let left = retried.rejected + retried.gone;
    Ok(if left == 0 { Outcome::Clean } else { Outcome::Differs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_counted_with_examples() {
        let group = |count, field: &str, examples: &[&str]| Group {
            table: "crm_Contacts".to_owned(),
            field: field.to_owned(),
            reason: "type".to_owned(),
            message: "expected bool, found string".to_owned(),
            count,
            examples: examples.iter().map(|id| (*id).to_owned()).collect(),
        };
        assert_eq!(
            text(&[group(1412, "status", &["a", "b"]), group(3, "", &["c"])]),
            "\
1,412 × crm_Contacts.status: expected bool, found string (type)
        a, b
    3 × crm_Contacts: expected bool, found string (type)
        c
1,415 rejected"
        );
    }
}
