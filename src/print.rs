//! Writing to standard output. A reader that went away, such as a pager that was quit, is no error.

use std::io::Write;

/// Writes one line, or several.
pub fn line(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Writes a text as it is.
pub fn text(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
