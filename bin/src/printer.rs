//! Who may write where: data goes to stdout, everything else to stderr, and `--quiet` leaves only
//! data and errors.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};

use anstream::{AutoStream, ColorChoice};

/// The only way to the terminal, apart from progress bars.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    quiet: bool,
}

impl Printer {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    /// Whether only data and errors are wanted.
    pub(crate) fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Writes what the command was asked for to stdout.
    pub(crate) fn data(self, text: impl Display) {
        write_to(&mut io::stdout().lock(), &text);
    }

    /// Writes what the command was asked for, with its colours where a person sees them: on a
    /// terminal, and not where `NO_COLOR` is set. Whoever makes the text has made the names and
    /// values in it [`printable`].
    pub(crate) fn styled(self, text: impl Display) {
        let stdout = io::stdout().lock();
        let choice = colours(stdout.is_terminal());
        let _ = writeln!(AutoStream::new(stdout, choice), "{text}");
    }

    /// Tells a person something on stderr, with colours as [`Printer::styled`].
    pub(crate) fn styled_note(self, text: impl Display) {
        if !self.quiet {
            let stderr = io::stderr().lock();
            let choice = colours(stderr.is_terminal());
            let _ = writeln!(AutoStream::new(stderr, choice), "{text}");
        }
    }

    /// Writes what the command was asked for over what it wrote before, on a terminal.
    pub(crate) fn redraw(self, text: &str) {
        // From the upper left corner, each line to its end, and nothing below; so it does not
        // flicker as a cleared screen does.
        let text = printable(text);
        let lines: String = text.lines().map(|line| format!("{line}\x1b[K\n")).collect();
        let _ = write!(io::stdout().lock(), "\x1b[H{lines}\x1b[J");
        let _ = io::stdout().flush();
    }

    /// Tells a person something on stderr.
    pub(crate) fn note(self, text: impl Display) {
        if !self.quiet {
            write_to(&mut io::stderr().lock(), &text);
        }
    }

    /// Tells a person on stderr what went wrong.
    pub(crate) fn error(self, text: impl Display) {
        write_to(&mut io::stderr().lock(), &text);
    }

    /// Asks on stderr and reads one line.
    pub(crate) fn ask(self, question: &str) -> io::Result<String> {
        let mut stderr = io::stderr().lock();
        write!(stderr, "{question} ")?;
        stderr.flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(answer.trim().to_owned())
    }
}

/// Colours are for a terminal that has them, unless `NO_COLOR` is set; `CLICOLOR_FORCE` asks for them
/// anywhere. A log of a build server is no terminal.
fn colours(is_terminal: bool) -> ColorChoice {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let forced =
        std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| value != "0" && !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    match !is_set("NO_COLOR") && (forced || (is_terminal && !dumb)) {
        true => ColorChoice::Always,
        false => ColorChoice::Never,
    }
}

/// Whoever reads may have gone, as `head` does; that is no failure of ours.
fn write_to(stream: &mut impl Write, text: &dyn Display) {
    let _ = writeln!(stream, "{}", printable(&text.to_string())).and_then(|()| stream.flush());
}

/// Text that tells the terminal nothing: names and values come from the documents, and must not
/// move its cursor or turn its text around. Line breaks and tabs stay.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |character| {
        let turns = matches!(character,
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        turns || (character.is_control() && !matches!(character, '\n' | '\t'))
    })
}

/// Text in one line, so that nothing in it looks like another.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, |character| matches!(character, '\n' | '\r'))
}

fn escaped(text: &str, is_meant: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_meant) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match is_meant(character) {
            true => clean.extend(character.escape_default()),
            false => clean.push(character),
        }
    }
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_the_cursor() {
        let text = "a\tb\n\u{1b}[2J\r\u{9b}1m\u{202e}ü";
        assert_eq!(printable(text), "a\tb\n\\u{1b}[2J\\r\\u{9b}1m\\u{202e}ü");
        assert_eq!(one_line("a\nb\r"), "a\\nb\\r");
        assert!(matches!(printable("as it is\n"), Cow::Borrowed(_)));
    }
}
