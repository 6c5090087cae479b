//! A journal entry with its lines, as reports show it.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;
use tokio_postgres::types::Json;

/// An entry of the journal. As JSON, every amount is a text: a reader's own number type cannot round it by accident.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    pub id: i64,
    pub book: String,
    pub source: String,
    pub reference_type: String,
    pub reference_id: String,
    pub revision: i32,
    pub kind: String,
    pub effective_date: NaiveDate,
    pub posting_date: NaiveDate,
    pub late: bool,
    pub reverses_id: Option<i64>,
    pub rule_hash: String,
    pub event_seq: i64,
    pub event_origin: String,
    pub event_xid: String,
    pub changed_at: DateTime<Utc>,
    pub session_user: String,
    pub application: String,
    pub posted_at: DateTime<Utc>,
    pub currency: String,
    pub lines: Vec<Line>,
}

/// A line of an entry. One of debit and credit is zero.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    pub line_no: i32,
    pub account_code: String,
    /// Unknown, like the type, where the account was taken out of the chart afterwards.
    pub account_name: Option<String>,
    pub account_type: Option<String>,
    pub debit: String,
    pub credit: String,
    pub is_settlement: bool,
    pub site: Option<String>,
    pub department: Option<String>,
    pub party: Option<String>,
}

impl Entry {
    /// From a row of `export_entries.sql` or `bill_entries.sql`.
    pub(crate) fn from_row(row: &Row) -> Result<Entry, tokio_postgres::Error> {
        let Json(lines) = row.try_get("lines")?;
        Ok(Entry {
            id: row.try_get("id")?,
            book: row.try_get("book")?,
            source: row.try_get("source")?,
            reference_type: row.try_get("reference_type")?,
            reference_id: row.try_get("reference_id")?,
            revision: row.try_get("revision")?,
            kind: row.try_get("kind")?,
            effective_date: row.try_get("effective_date")?,
            posting_date: row.try_get("posting_date")?,
            late: row.try_get("late")?,
            reverses_id: row.try_get("reverses_id")?,
            rule_hash: row.try_get("rule_hash")?,
            event_seq: row.try_get("event_seq")?,
            event_origin: row.try_get("event_origin")?,
            event_xid: row.try_get("event_xid")?,
            changed_at: row.try_get("changed_at")?,
            session_user: row.try_get("session_user_name")?,
            application: row.try_get("application_name")?,
            posted_at: row.try_get("posted_at")?,
            currency: row.try_get("currency")?,
            lines,
        })
    }
}

impl Line {
    /// Debit as it is, credit with a minus.
    pub fn signed(&self) -> String {
        if is_zero(&self.credit) { self.debit.clone() } else { format!("-{}", self.credit) }
    }
}

/// Whether an amount is zero, such as `0.00`.
pub(crate) fn is_zero(amount: &str) -> bool {
    !amount.bytes().any(|byte| (b'1'..=b'9').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::is_zero;

    #[test]
    fn zero_has_many_spellings_and_no_other_amount_is_zero() {
        assert!(is_zero("0") && is_zero("0.00") && is_zero("-0.000"));
        assert!(!is_zero("0.01") && !is_zero("-10") && !is_zero("100000000000000000.00"));
    }
}
