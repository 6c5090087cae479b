//! JSON Lines: one entry a line, with its lines. Amounts are strings.

use super::Entry;
use crate::error::{Error, Result};

pub fn entry(entry: &Entry) -> Result<String> {
    match serde_json::to_string(entry) {
        Ok(text) => Ok(text + "\n"),
        Err(error) => Err(Error::Unexpected(format!("writing JSON: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples;
    use super::*;

    #[test]
    fn an_entry_is_one_line_and_its_amounts_are_strings() {
        let text = entry(&examples::entry(examples::NASTY)).unwrap();
        assert_eq!(text.lines().count(), 1);
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["reference_id"], examples::NASTY);
        assert_eq!(read["lines"][0]["credit"], "100000000000000000.01");
        assert_eq!(read["posting_date"], "2024-03-05");
    }
}
