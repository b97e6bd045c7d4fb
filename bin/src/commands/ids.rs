//! `migrate ids`: which `_id` became which id, as CSV.

use std::path::Path;

use migrate_core::Error;
use migrate_core::ids;
use migrate_core::run::Options;
use migrate_core::schema::RegistryFacts;

use super::out::Out;
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::reporter::rate::thousands;

const HEAD: &str = "collection,source_id,id";

/// Writes the pairs of ids of every loaded row, or of one collection's.
pub(crate) async fn export(
    registry: &'static RegistryFacts,
    target: &str,
    options: &Options,
    collection: Option<&str>,
    path: Option<&Path>,
    printer: Printer,
) -> Result<Outcome, Error> {
    let mut out = Out::open(path)?;
    let mut has_head = false;
    let pairs = ids::export(registry, target, options, collection, |pair| {
        // Where the ids cannot be read nothing is said but why.
        has_head = has_head || out.line(HEAD);
        out.line(&format!(
            "{},{},{}",
            cell(&pair.collection),
            cell(&pair.source_id),
            cell(&pair.id)
        ))
    })
    .await?;
    if !has_head {
        out.line(HEAD);
    }
    out.finish()?;
    if let Some(path) = path {
        printer.note(format_args!("{} ids are in `{}`", thousands(pairs), path.display()));
    }
    Ok(Outcome::Clean)
}

/// A cell of CSV (RFC 4180), in quotes where it needs them.
fn cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_stand_where_they_must() {
        assert_eq!(cell("507f1f77bcf86cd799439011"), "507f1f77bcf86cd799439011");
        assert_eq!(cell("\"a, b\""), "\"\"\"a, b\"\"\"");
        assert_eq!(cell("a\nb"), "\"a\nb\"");
    }
}
