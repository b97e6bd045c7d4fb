//! Addresses of servers hold passwords; this is how they are shown.

/// An address without its secrets, as in `postgres://crm:***@db/crm`.
///
/// Everything up to the last `@` counts as user and password: a password with an unescaped `/` or
/// `@` in it makes an address wrong, and a wrong address is the one that is printed.
pub(crate) fn redact(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (user, rest) = match rest.rsplit_once('@') {
        Some((login, rest)) => match login.split_once(':') {
            Some((user, _)) => (format!("{user}:***@"), rest),
            None => (format!("{login}@"), rest),
        },
        None => (String::new(), rest),
    };
    let Some((path, query)) = rest.split_once('?') else {
        return format!("{scheme}://{user}{rest}");
    };
    let query: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) if is_secret(key) => format!("{key}=***"),
            _ => pair.to_owned(),
        })
        .collect();
    format!("{scheme}://{user}{path}?{}", query.join("&"))
}

/// The address in an argument, as in `--target=postgres://u:p@h/db`.
pub(crate) fn within(argument: &str) -> Option<&str> {
    let (before, _) = argument.split_once("://")?;
    let scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let begin = before
        .rfind(|c: char| !scheme(c))
        .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    Some(&argument[begin..])
}

/// Takes the secrets of `address` out of a text, in the form they have in the address and decoded.
pub(crate) fn scrub(text: &str, address: &str) -> String {
    let shown = redact(address);
    let mut text = text.replace(address, &shown);
    for secret in secrets(address) {
        for form in [secret.to_owned(), percent_decode(secret)] {
            // A password of one or two characters, or one that is the user's name as well, would
            // tear other words apart and hide nothing.
            if form.len() > 2 && !shown.contains(&form) {
                text = text.replace(&form, "***");
            }
        }
    }
    text
}

fn secrets(address: &str) -> Vec<&str> {
    let Some((_, rest)) = address.split_once("://") else { return Vec::new() };
    let login = rest.rsplit_once('@').and_then(|(login, _)| login.split_once(':'));
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    let values = query.split('&').filter_map(|pair| pair.split_once('='));
    login
        .map(|(_, password)| password)
        .into_iter()
        .chain(values.filter(|(key, _)| is_secret(key)).map(|(_, value)| value))
        .collect()
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "secret", "token", "authmechanismproperties"].iter().any(|word| key.contains(word))
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (address, shown) in [
            ("postgres://crm:geheim@db:5432/crm", "postgres://crm:***@db:5432/crm"),
            ("postgres://crm@db/crm", "postgres://crm@db/crm"),
            ("postgres://db/crm?user=a&password=b", "postgres://db/crm?user=a&password=***"),
            ("mongodb://u:a/b@c@h1,h2/db?w=1", "mongodb://u:***@h1,h2/db?w=1"),
            (
                "mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:x&tlsCertificateKeyFilePassword=y",
                "mongodb://h/?authMechanismProperties=***&tlsCertificateKeyFilePassword=***",
            ),
            ("./dump", "./dump"),
        ] {
            assert_eq!(redact(address), shown);
        }
    }

    #[test]
    fn addresses_are_found_in_arguments() {
        for (argument, address) in [
            ("postgres://u:p@h/db", Some("postgres://u:p@h/db")),
            ("--targt=postgres://u:p@h/db", Some("postgres://u:p@h/db")),
            ("→mongodb+srv://u:p@h", Some("mongodb+srv://u:p@h")),
            ("--jobs=3", None),
        ] {
            assert_eq!(within(argument), address, "{argument}");
        }
    }

    #[test]
    fn passwords_are_taken_out_of_other_texts() {
        let address = "postgres://u:p%40ss@h/db?sslpassword=hush";
        assert_eq!(scrub("p%40ss, p@ss and hush", address), "***, *** and ***");
        assert_eq!(scrub("nothing here", "./dump"), "nothing here");
        let address = "postgres://postgres:postgres@h/db";
        assert_eq!(scrub(address, address), "postgres://postgres:***@h/db");
    }
}
