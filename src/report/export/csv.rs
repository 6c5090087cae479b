//! CSV (RFC 4180): a header, then one row per journal line with the entry's columns repeated. Values are exact, and a null
//! is an empty field.

use chrono::{DateTime, SecondsFormat, Utc};
use csv::{Terminator, WriterBuilder};

use super::Entry;
use crate::error::{Error, Result};

const HEADER: [&str; 29] = [
    "entry_id",
    "book",
    "source",
    "reference_type",
    "reference_id",
    "revision",
    "kind",
    "effective_date",
    "posting_date",
    "late",
    "reverses_id",
    "rule_hash",
    "event_seq",
    "event_origin",
    "event_xid",
    "changed_at",
    "session_user",
    "application",
    "posted_at",
    "line_no",
    "account_code",
    "account_name",
    "account_type",
    "debit",
    "credit",
    "currency",
    "site",
    "department",
    "party",
];

pub fn header() -> Result<String> {
    rows([HEADER.map(String::from)])
}

pub fn entry(entry: &Entry) -> Result<String> {
    rows(entry.lines.iter().map(|line| {
        let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
        [
            entry.id.to_string(),
            entry.book.clone(),
            entry.source.clone(),
            entry.reference_type.clone(),
            entry.reference_id.clone(),
            entry.revision.to_string(),
            entry.kind.clone(),
            entry.effective_date.to_string(),
            entry.posting_date.to_string(),
            entry.late.to_string(),
            entry.reverses_id.map(|id| id.to_string()).unwrap_or_default(),
            entry.rule_hash.clone(),
            entry.event_seq.to_string(),
            entry.event_origin.clone(),
            entry.event_xid.clone(),
            instant(entry.changed_at),
            entry.session_user.clone(),
            entry.application.clone(),
            instant(entry.posted_at),
            line.line_no.to_string(),
            line.account_code.clone(),
            or_empty(&line.account_name),
            or_empty(&line.account_type),
            line.debit.clone(),
            line.credit.clone(),
            entry.currency.clone(),
            or_empty(&line.site),
            or_empty(&line.department),
            or_empty(&line.party),
        ]
    }))
}

fn rows(rows: impl IntoIterator<Item = [String; HEADER.len()]>) -> Result<String> {
    let unexpected = |error: &dyn std::fmt::Display| Error::Unexpected(format!("writing CSV: {error}"));
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    for row in rows {
        writer.write_record(&row).map_err(|error| unexpected(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| unexpected(&error))?;
    String::from_utf8(bytes).map_err(|error| unexpected(&error))
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use super::super::examples;
    use super::*;

    #[test]
    fn what_is_read_back_is_what_was_written() {
        let text = header().unwrap() + &entry(&examples::entry(examples::NASTY)).unwrap();
        assert!(text.starts_with("entry_id,book,") && text.ends_with("\r\n"), "{text}");
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.unwrap()).collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(&rows[0][4], examples::NASTY);
        assert_eq!((&rows[0][20], &rows[0][23], &rows[0][24]), ("1000", "0.00", "100000000000000000.01"));
        assert_eq!((&rows[1][21], &rows[1][27], &rows[1][28]), ("Revenue; \"x\"", "", "visit:7"));
    }
}
