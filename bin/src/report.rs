//! An error as text: the act that failed, its causes one a line, and a hint after a blank line.

use std::error::Error as _;
use std::fmt::Write as _;

use migrate_core::Error;

use crate::address;

/// The text of an error, without the passwords in `addresses` wherever they stand.
pub(crate) fn error_text(error: &Error, addresses: &[&str]) -> String {
    let mut text = format!("error: {error}");
    let mut last = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        // Libraries often repeat their cause in their own sentence.
        if !last.contains(&line) {
            let _ = write!(text, "\n  cause: {}", line.trim().replace('\n', "\n         "));
        }
        last = line;
        cause = error.source();
    }
    if let Some(hint) = error.hint() {
        let _ = write!(text, "\n\nhint: {hint}");
    }
    addresses.iter().fold(text, |text, address| address::scrub(&text, address))
}

#[cfg(test)]
mod tests {
    use migrate_core::ErrorKind;

    use super::*;

    #[test]
    fn causes_and_hint_follow_the_act_without_the_password() {
        let cause = std::io::Error::other("no route for `postgres://u:geh%20eim@h/db` (geh eim)");
        let error = Error::new(ErrorKind::TargetConnection, "cannot reach the target")
            .caused_by(cause)
            .with_hint("start it");
        assert_eq!(
            error_text(&error, &["postgres://u:geh%20eim@h/db"]),
            "error: cannot reach the target\n  cause: no route for `postgres://u:***@h/db` (***)\n\nhint: start it"
        );
    }
}
