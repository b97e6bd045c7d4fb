//! Who may write where: data goes to stdout, everything else to stderr, and `--quiet` leaves only
//! data and errors.

use std::fmt::Display;
use std::io::{self, Write};

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

/// Whoever reads may have gone, as `head` does; that is no failure of ours.
fn write_to(stream: &mut impl Write, text: &dyn Display) {
    let _ = writeln!(stream, "{text}").and_then(|()| stream.flush());
}
