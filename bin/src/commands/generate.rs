//! `migrate generate`: sample documents into a dump or a MongoDB, and a count of what was planted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use migrate_core::schema::RegistryFacts;
use migrate_core::{Error, ErrorKind};

use crate::address::redact;
use crate::cli::Generate;
use crate::exit::Outcome;
use crate::generate::{Expected, Generator, Ledger, Plan, to_dump, to_mongodb};
use crate::printer::Printer;
use crate::reporter::rate::{bytes, thousands};

/// Generates, and prints the counts.
pub(crate) async fn generate(
    registry: &'static RegistryFacts,
    arguments: Generate,
    printer: Printer,
) -> Result<Outcome, Error> {
    let dirty = arguments.dirty.unwrap_or_default();
    let plan = Plan { seed: arguments.seed, scale: arguments.scale, dirty };
    let mut generator = Generator::new(registry, plan);
    set_documents(&mut generator, &arguments.documents)?;
    let (ledger, place) = match (&arguments.to.out, &arguments.to.target_mongo) {
        (_, Some(address)) => (to_mongodb(&generator, address).await?, redact(address)),
        (Some(folder), None) => {
            check_empty(folder)?;
            let ledger = to_dump(&generator, folder, arguments.gzip)?;
            (ledger, folder.display().to_string())
        }
        (None, None) => {
            return Err(Error::new(ErrorKind::Usage, "nowhere to put the documents")
                .with_hint("add `--out DIR` or `--target-mongo ADDRESS`"));
        }
    };
    if let Some(path) = &arguments.ledger {
        write_ledger(path, &ledger)?;
    }
    printer.note(format_args!(
        "{} documents of {} collections ({}) are in `{place}`",
        thousands(ledger.total()),
        ledger.documents.len(),
        bytes(ledger.bytes)
    ));
    if !printer.is_quiet() {
        printer.data(text(&ledger));
    }
    Ok(Outcome::Clean)
}

/// Changes how many documents some collections get.
pub(super) fn set_documents(
    generator: &mut Generator,
    documents: &[(String, u64)],
) -> Result<(), Error> {
    for (collection, count) in documents {
        if !generator.set_documents(collection, *count) {
            let known: Vec<&str> = generator.collections().map(|(name, _)| name).collect();
            return Err(Error::new(
                ErrorKind::Usage,
                format!("no model has the collection `{collection}`"),
            )
            .with_hint(format!("the models' collections are {}", known.join(", "))));
        }
    }
    Ok(())
}

/// A dump among other files would be migrated together with them.
pub(super) fn check_empty(folder: &Path) -> Result<(), Error> {
    let first = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(Error::new(ErrorKind::File, format!("cannot open `{}`", folder.display()))
                .caused_by(error));
        }
    };
    if first.is_none() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Usage,
        format!("the folder `{}` has something in it", folder.display()),
    )
    .with_hint("name a new folder, or remove what is in this one"))
}

fn write_ledger(path: &Path, ledger: &Ledger) -> Result<(), Error> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::File, format!("cannot write the ledger to `{}`", path.display()))
            .caused_by(error)
    };
    let mut text = String::new();
    for planted in &ledger.planted {
        text += &serde_json::to_string(planted).map_err(|error| failed(error.into()))?;
        text.push('\n');
    }
    std::fs::write(path, text).map_err(failed)
}

/// The documents by collection, and the planted faults by kind with what is expected of them.
fn text(ledger: &Ledger) -> String {
    let mut text = String::new();
    let width = ledger.documents.keys().map(String::len).max().unwrap_or_default();
    for (collection, documents) in &ledger.documents {
        let _ = writeln!(text, "{collection:width$}  {:>9}", thousands(*documents));
    }
    if !ledger.planted.is_empty() {
        let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
        for planted in &ledger.planted {
            let expected = expectation(planted.expected);
            *counts.entry((planted.kind.code(), expected)).or_default() += 1;
        }
        let width = counts.keys().map(|(kind, _)| kind.len()).max().unwrap_or_default();
        let _ = writeln!(text, "\nplanted: {}", thousands(ledger.planted.len() as u64));
        for ((kind, expected), count) in &counts {
            let _ = writeln!(text, "  {kind:width$}  {:>7}  {expected}", thousands(*count));
        }
        let rejected: u64 = ledger.rejected().values().sum();
        let _ = write!(
            text,
            "\n{} documents must be rejected, and what cannot do without them",
            thousands(rejected)
        );
    }
    text.trim_end().to_owned()
}

fn expectation(expected: Expected) -> String {
    match expected {
        Expected::Rejected(reason) => format!("rejected: {reason}"),
        Expected::Orphan => "loaded, the reference is an orphan and becomes NULL".to_owned(),
        Expected::JunctionOrphan => "loaded, without the element".to_owned(),
        Expected::Loaded => "loaded exactly".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use migrate_core::Reason;

    use super::*;
    use crate::generate::{Fault, Planted};

    #[test]
    fn faults_are_counted_with_what_is_expected() {
        let planted = |kind, expected| Planted {
            kind,
            collection: "Users".to_owned(),
            field: "email".to_owned(),
            source_id: "1".to_owned(),
            expected,
        };
        let ledger = Ledger {
            documents: [("Users".to_owned(), 1200), ("Tasks".to_owned(), 3)].into(),
            bytes: 1,
            planted: vec![
                planted(Fault::Fraction, Expected::Rejected(Reason::Fraction)),
                planted(Fault::Fraction, Expected::Rejected(Reason::Fraction)),
                planted(Fault::WholeDouble, Expected::Loaded),
            ],
        };
        assert_eq!(
            text(&ledger),
            "\
Tasks          3
Users      1,200

planted: 3
  fraction            2  rejected: fraction
  whole_double        1  loaded exactly

2 documents must be rejected, and what cannot do without them"
        );
    }
}
